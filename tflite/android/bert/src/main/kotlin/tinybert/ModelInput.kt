package tinybert

/** Word pieces with their special tokens, one or two texts, not yet padded; what [Tokenizer.encode] gives. */
class Encoded(val ids: List<Int>, val segmentIds: List<Int>)

/** The three rows that a model file takes, each of the model's length. */
class ModelInput(val ids: IntArray, val mask: IntArray, val segmentIds: IntArray)

/**
 * [CLS] first [SEP], or [CLS] first [SEP] second [SEP], of at most [maxLength] pieces. A pair that is too long loses
 * pieces of its longer side first.
 */
fun Tokenizer.encode(first: String, second: String? = null, maxLength: Int): Encoded {
    val head = tokenize(first).map { it.id }
    if (second == null) return joined(truncated(head, maxLength - 2))
    val tail = tokenize(second).map { it.id }
    val room = maxLength - 3
    val headRoom = maxOf((room + 1) / 2, room - tail.size)
    val tailRoom = maxOf(room / 2, room - head.size)
    return joined(truncated(head, headRoom), truncated(tail, tailRoom))
}

private fun Tokenizer.truncated(ids: List<Int>, room: Int) = if (truncateLeft) ids.takeLast(room) else ids.take(room)

internal fun Tokenizer.joined(first: List<Int>, second: List<Int>? = null): Encoded {
    val head = listOf(clsId) + first + sepId
    val tail = if (second == null) emptyList() else second + sepId
    return Encoded(head + tail, List(head.size) { 0 } + List(tail.size) { 1 })
}

fun Encoded.padded(length: Int, padId: Int): ModelInput = ModelInput(
    ids = IntArray(length) { ids.getOrElse(it) { padId } },
    mask = IntArray(length) { if (it < ids.size) 1 else 0 },
    segmentIds = IntArray(length) { segmentIds.getOrElse(it) { 0 } },
)
