package tinybert.sample

import android.content.Context
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier
import tinybert.Answer
import tinybert.ModelFile
import tinybert.Prediction
import tinybert.QuestionAnswerer
import tinybert.SpanLogits
import tinybert.encode
import tinybert.ranked

/**
 * Classifies single sentences by MediaPipe's task, which finds vocabulary and labels in the file itself. Its tokenizer keeps
 * accents and invisible characters, so that texts are normalized before.
 */
class SentenceModel(context: Context, asset: String) : AutoCloseable {
    private val file = ModelFile(mapped(context.assets, asset))
    private val classifier = TextClassifier.createFromFile(context, asset)

    fun classify(sentence: String): List<Prediction> =
        classifier.classify(file.normalize(sentence))
            .classificationResult().classifications()[0].categories()
            .map { Prediction(it.categoryName(), it.score()) }

    override fun close() = classifier.close()
}

/** Classifies pairs of sentences, or gives a regression model's one value; MediaPipe's task takes no second sentence. */
class PairModel(context: Context, asset: String, gpu: Boolean = false) : AutoCloseable {
    private val model = LiteRtModel(context, asset, gpu)
    private val labels = model.file.labels ?: listOf("score")

    fun classify(first: String, second: String?): List<Prediction> {
        val outputs = model.run(model.tokenizer.encode(first, second, model.length))
        return ranked(labels, outputs.values.single())
    }

    override fun close() = model.close()
}

/** Answers questions out of a text with a span model. */
class QuestionModel(context: Context, asset: String, gpu: Boolean = false) : AutoCloseable {
    private val model = LiteRtModel(context, asset, gpu)
    private val answerer = QuestionAnswerer(model.tokenizer, model.length) { input ->
        val outputs = model.run(input)
        SpanLogits(outputs.getValue("start_logits"), outputs.getValue("end_logits"))
    }

    fun answer(question: String, text: String): Answer? = answerer.answer(question, text)

    override fun close() = model.close()
}
