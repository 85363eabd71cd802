package tinybert

/** A span model's outputs, one value for each position of its input; padding at the end may be missing. */
class SpanLogits(val start: FloatArray, val end: FloatArray)

/**
 * @property text the answer: the context from [begin] to before [end].
 * @property score start logit plus end logit.
 * @property margin difference from the same sum at [CLS], where a SQuAD 2.0 model puts "no answer": with a margin below the
 *     threshold found on the dev set (often 0) there is none. Without meaning for SQuAD 1.1.
 */
data class Answer(val text: String, val begin: Int, val end: Int, val score: Float, val margin: Float)

/**
 * Finds the answer to a question in a text of any length, as `tinybert_tf.evaluate.squad` does: windows of the context,
 * each as long as the model allows, go through the model; the best span of all windows is the answer. Where windows
 * overlap, a span is taken from the one that shows the most of the context around its beginning. Lengths are in word pieces.
 *
 * @param length the model's longest length.
 * @param stride pieces from the beginning of a window to that of the next.
 * @param run the model, on at most [length] pieces.
 */
class QuestionAnswerer(
    private val tokenizer: Tokenizer,
    private val length: Int,
    private val stride: Int = 128,
    private val maxQuestionLength: Int = 64,
    private val maxAnswerLength: Int = 30,
    private val run: (Encoded) -> SpanLogits,
) {
    init {
        require(length >= 8) { "length=$length: too short for a question and a context" }
    }

    /** The best answer; null for a context without a word. */
    fun answer(question: String, context: String): Answer? {
        val questionIds = tokenizer.tokenize(question).take(minOf(maxQuestionLength, (length - 3) / 2)).map { it.id }
        val pieces = tokenizer.tokenize(context)
        val windows = windows(pieces.size, room = length - questionIds.size - 3)
        val owners = pieces.indices.map { piece -> windows.indices.maxByOrNull { contextAround(piece, windows[it]) } }
        var best: Span? = null
        var none = Float.POSITIVE_INFINITY
        for ((number, window) in windows.withIndex()) {
            val encoded = tokenizer.joined(questionIds, pieces.slice(window).map { it.id })
            val logits = run(encoded)
            none = minOf(none, logits.start[0] + logits.end[0])
            val owned = window.filter { owners[it] == number }
            val span = bestSpan(logits, window, owned, offset = questionIds.size + 2) ?: continue
            if (best == null || span.score > best.score) best = span
        }
        if (best == null) return null
        val (begin, end) = pieces[best.first].begin to pieces[best.last].end
        return Answer(context.substring(begin, end), begin, end, best.score, best.score - none)
    }

    /** The pieces that each window shows. */
    private fun windows(size: Int, room: Int): List<IntRange> {
        val step = minOf(stride, room / 2)
        return (0 until maxOf(0, size - room) + step step step).map { it until minOf(it + room, size) }
    }

    /** How much a window shows on the shorter side of a piece; between equals the longer window wins. */
    private fun contextAround(piece: Int, window: IntRange): Double =
        if (piece !in window) Double.NEGATIVE_INFINITY
        else minOf(piece - window.first, window.last - piece) + 0.01 * (window.last - window.first)

    /** The span of the highest sum that begins with one of [firsts]; [offset] is the window's place in the input. */
    private fun bestSpan(logits: SpanLogits, window: IntRange, firsts: List<Int>, offset: Int): Span? {
        var best: Span? = null
        for (first in firsts) {
            for (last in first..minOf(first + maxAnswerLength - 1, window.last)) {
                val score = logits.start[offset + first - window.first] + logits.end[offset + last - window.first]
                if (best == null || score > best.score) best = Span(first, last, score)
            }
        }
        return best
    }

    private class Span(val first: Int, val last: Int, val score: Float)
}
