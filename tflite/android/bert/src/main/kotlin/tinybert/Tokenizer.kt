package tinybert

/** A word piece and its place in the text: from [begin] to before [end]. */
data class Piece(val id: Int, val begin: Int, val end: Int)

/**
 * A word that is kept whole wherever it occurs in a text, such as "[URL]".
 *
 * @property content its characters.
 * @property normalized found in any case, where the vocabulary is one of lower case.
 * @property singleWord only where neither an ASCII letter nor a digit is next to it.
 */
data class AddedToken(val content: String, val normalized: Boolean = false, val singleWord: Boolean = false)

/**
 * BERT's WordPiece tokenizer. It gives the ids that `tinybert_tf.data.Tokenizer` gave in training.
 *
 * @param vocabulary the words in the order of their ids; [ModelFile] reads them out of a model file.
 * @param lowerCase lower-case texts.
 * @param stripAccents remove accents; as [lowerCase], unless the vocabulary says otherwise.
 * @param added words that are kept whole; all are in the vocabulary.
 * @param truncateLeft a text that is too long loses its beginning instead of its end.
 * @param asMediaPipe texts are prepared and split as MediaPipe's own tokenizer does it.
 * @throws IllegalArgumentException if the vocabulary lacks a special token.
 */
class Tokenizer(
    vocabulary: List<String>,
    private val lowerCase: Boolean = true,
    private val stripAccents: Boolean = lowerCase,
    added: List<AddedToken> = emptyList(),
    internal val truncateLeft: Boolean = false,
    private val asMediaPipe: Boolean = false,
) {
    private val ids = vocabulary.withIndex().associate { (id, word) -> word to id }
    private val longest = vocabulary.maxOfOrNull { it.length } ?: 0
    private val added = if (added.isEmpty()) null else AddedTokens(added, lowerCase)

    val padId = id("[PAD]")
    val clsId = id("[CLS]")
    val sepId = id("[SEP]")
    private val unknownId = id("[UNK]")

    private fun id(token: String): Int = requireNotNull(ids[token]) { "the vocabulary lacks $token" }

    /** Splits at spaces and around punctuation, Chinese characters and added tokens, then each word into pieces. */
    fun tokenize(text: String): List<Piece> {
        if (added == null) return split(text)
        val pieces = ArrayList<Piece>()
        var at = 0
        for (found in added.find(text)) {
            pieces += split(text.substring(at, found.begin)).map { it.moved(at) }
            pieces += Piece(id(found.content), found.begin, found.end)
            at = found.end
        }
        return pieces.apply { addAll(split(text.substring(at)).map { it.moved(at) }) }
    }

    private fun Piece.moved(by: Int) = if (by == 0) this else copy(begin = begin + by, end = end + by)

    private fun split(text: String): List<Piece> {
        val folded = if (asMediaPipe) FoldedText.asMediaPipe(text) else FoldedText.of(text, lowerCase, stripAccents)
        val pieces = ArrayList<Piece>()
        var wordBegin = 0
        var at = 0
        while (at < folded.text.length) {
            val codePoint = folded.text.codePointAt(at)
            val next = at + Character.charCount(codePoint)
            val space = if (asMediaPipe) codePoint in ASCII_SPACES else Character.isSpaceChar(codePoint)
            if (space || isWordByItself(codePoint)) {
                pieces += cutWord(folded, wordBegin, at)
                if (!space) pieces += cutWord(folded, at, next)
                wordBegin = next
            }
            at = next
        }
        return pieces.apply { addAll(cutWord(folded, wordBegin, at)) }
    }

    /** From left to right the longest pieces that the vocabulary has; one [UNK] where no piece fits. */
    private fun cutWord(folded: FoldedText, begin: Int, end: Int): List<Piece> {
        if (begin == end) return emptyList()
        val unknown = listOf(Piece(unknownId, folded.begin(begin), folded.end(end)))
        if (isTooLong(folded.text.substring(begin, end))) return unknown
        val pieces = ArrayList<Piece>(1)
        var at = begin
        while (at < end) {
            var pieceEnd = minOf(end, at + longest)
            while (pieceEnd > at && idOf(folded.text, begin, at, pieceEnd) == null) pieceEnd--
            val id = idOf(folded.text, begin, at, pieceEnd) ?: return unknown
            pieces += Piece(id, folded.begin(at), folded.end(pieceEnd))
            at = pieceEnd
        }
        return pieces
    }

    private fun idOf(text: String, wordBegin: Int, begin: Int, end: Int): Int? {
        val piece = text.substring(begin, end)
        return ids[if (begin == wordBegin) piece else "##$piece"]
    }
}

private val ASCII_SPACES = setOf(0x09, 0x0a, 0x0c, 0x0d, 0x20)

/** The places of added tokens in a text. */
private class AddedTokens(added: List<AddedToken>, lowerCase: Boolean) {
    class Found(val content: String, val begin: Int, val end: Int)

    private class Searched(val content: String, val regex: Regex)

    private val searched = added.sortedByDescending { it.content.length } // of two at one place the longer counts
        .map { Searched(it.content, it.regex(anyCase = it.normalized && lowerCase)) }

    private fun AddedToken.regex(anyCase: Boolean): Regex {
        // Regular expressions of Java and Android differ in what a word boundary is.
        val begin = if (singleWord && isWordCharacter(content.first())) "(?<![A-Za-z0-9_])" else ""
        val end = if (singleWord && isWordCharacter(content.last())) "(?![A-Za-z0-9_])" else ""
        return Regex(begin + Regex.escape(content) + end, if (anyCase) setOf(RegexOption.IGNORE_CASE) else emptySet())
    }

    private fun isWordCharacter(character: Char) = character == '_' || character < '\u0080' && character.isLetterOrDigit()

    fun find(text: String): Sequence<Found> = generateSequence(first(text, 0)) { first(text, it.end) }

    private fun first(text: String, from: Int): Found? = searched
        .mapNotNull { token -> token.regex.find(text, from)?.let { Found(token.content, it.range.first, it.range.last + 1) } }
        .minByOrNull { it.begin }
}

/** Longer words are unknown: FastBertTokenizer's limit, in bytes of UTF-8. */
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
