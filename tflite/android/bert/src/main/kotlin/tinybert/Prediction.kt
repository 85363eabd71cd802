package tinybert

/** A class and its probability, or "score" and the value that a regression model gives. */
data class Prediction(val label: String, val value: Float)

/** The model's probabilities under their names, the most probable first. Softmax is inside the model: nothing is left to do. */
fun ranked(labels: List<String>, probabilities: FloatArray): List<Prediction> {
    require(labels.size == probabilities.size) { "${probabilities.size} probabilities for ${labels.size} labels" }
    return labels.mapIndexed { id, label -> Prediction(label, probabilities[id]) }.sortedByDescending { it.value }
}
