package tinybert

/** A word piece and where it stands in the text: from [begin] to before [end]. */
data class Piece(val id: Int, val begin: Int, val end: Int)

/**
 * BERT's WordPiece tokenizer. It gives the ids that `tinybert_tf.data.Tokenizer` gave in training.
 *
 * @param vocabulary the words in the order of their ids; [ModelFile] reads them out of a model file.
 * @param lowerCase lower-case and strip accents, as for bert-base-uncased.
 * @throws IllegalArgumentException if the vocabulary lacks a special token.
 */
class Tokenizer(vocabulary: List<String>, private val lowerCase: Boolean = true) {
    private val ids = vocabulary.withIndex().associate { (id, word) -> word to id }
    private val longest = vocabulary.maxOfOrNull { it.length } ?: 0

    val padId = special("[PAD]")
    val clsId = special("[CLS]")
    val sepId = special("[SEP]")
    private val unknownId = special("[UNK]")

    private fun special(token: String): Int = requireNotNull(ids[token]) { "the vocabulary lacks $token" }

    /** Splits at spaces and around punctuation and Chinese characters, then each word into pieces. */
    fun tokenize(text: String): List<Piece> {
        val folded = FoldedText.of(text, lowerCase)
        val pieces = ArrayList<Piece>()
        var wordBegin = 0
        var at = 0
        while (at < folded.text.length) {
            val codePoint = folded.text.codePointAt(at)
            val next = at + Character.charCount(codePoint)
            val space = Character.isSpaceChar(codePoint)
            if (space || isWordByItself(codePoint)) {
                pieces += cutWord(folded, wordBegin, at)
                if (!space) pieces += cutWord(folded, at, next)
                wordBegin = next
            }
            at = next
        }
        return pieces.apply { addAll(cutWord(folded, wordBegin, at)) }
    }

    /** From left to right the longest pieces that the vocabulary has; one [UNK] where that does not work out. */
    private fun cutWord(folded: FoldedText, begin: Int, end: Int): List<Piece> {
        if (begin == end) return emptyList()
        val unknown = listOf(Piece(unknownId, folded.origins[begin], folded.origins[end]))
        if (isTooLong(folded.text.substring(begin, end))) return unknown
        val pieces = ArrayList<Piece>(1)
        var at = begin
        while (at < end) {
            var pieceEnd = minOf(end, at + longest)
            while (pieceEnd > at && idOf(folded.text, begin, at, pieceEnd) == null) pieceEnd--
            val id = idOf(folded.text, begin, at, pieceEnd) ?: return unknown
            pieces += Piece(id, folded.origins[at], folded.origins[pieceEnd])
            at = pieceEnd
        }
        return pieces
    }

    private fun idOf(text: String, wordBegin: Int, begin: Int, end: Int): Int? {
        val piece = text.substring(begin, end)
        return ids[if (begin == wordBegin) piece else "##$piece"]
    }
}

/** Longer words are unknown without a look: FastBertTokenizer's limit, in bytes of UTF-8. */
private const val MOST_BYTES = 100

private fun isTooLong(word: String): Boolean = word.length > MOST_BYTES / 3 && word.encodeToByteArray().size > MOST_BYTES

private fun isWordByItself(codePoint: Int): Boolean = isPunctuation(codePoint) || isChinese(codePoint)

/** Unicode's punctuation, and of ASCII all that is neither letter nor digit. */
private fun isPunctuation(codePoint: Int): Boolean = when (Character.getType(codePoint).toByte()) {
    Character.CONNECTOR_PUNCTUATION,
    Character.DASH_PUNCTUATION,
    Character.START_PUNCTUATION,
    Character.END_PUNCTUATION,
    Character.INITIAL_QUOTE_PUNCTUATION,
    Character.FINAL_QUOTE_PUNCTUATION,
    Character.OTHER_PUNCTUATION -> true
    else -> codePoint in ' '.code..'~'.code && !Character.isLetterOrDigit(codePoint)
}

/** The CJK Unified Ideographs, without the signs of Japanese and Korean, which are written in words. */
private fun isChinese(codePoint: Int): Boolean =
    codePoint in 0x4E00..0x9FFF ||
        codePoint in 0x3400..0x4DBF ||
        codePoint in 0xF900..0xFAFF ||
        codePoint in 0x20000..0x2A6DF ||
        codePoint in 0x2A700..0x2CEAF ||
        codePoint in 0x2F800..0x2FA1F
