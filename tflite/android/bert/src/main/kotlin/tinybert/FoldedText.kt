package tinybert

import java.text.Normalizer
import java.util.Locale

/**
 * A text as the vocabulary spells it: lower case, compatibility forms written out, accents and invisible characters removed,
 * control characters as spaces. Call it before MediaPipe's tasks and the Task Library, whose own tokenizer lower-cases ASCII
 * only: it keeps accents, soft hyphens, zero-width and full-width characters, which the models were not trained with.
 *
 * [ModelFile.normalize] knows what a file's vocabulary needs.
 *
 * @param lowerCase false for cased vocabularies, where only control characters and spaces change.
 */
fun normalize(text: String, lowerCase: Boolean = true, stripAccents: Boolean = lowerCase): String =
    FoldedText.of(text, lowerCase, stripAccents).text.map { if (Character.isSpaceChar(it)) ' ' else it }.joinToString("")

/**
 * A normalized text. The rule is that of TensorFlow Text's FastBertTokenizer, which the models are trained with: each code
 * point by itself, Unicode's NFKC_Casefold, then NFD without nonspacing marks.
 *
 * @property text the result.
 */
internal class FoldedText private constructor(
    val text: String,
    private val origins: IntArray,
    private val original: String,
    private val removesOne: Boolean,
) {
    /** Where in the original the character at [index] comes from. */
    fun begin(index: Int): Int = origins[index]

    /**
     * Where in the original the characters before [index] end. Marks that are removed behind a character belong to it,
     * unless case and accents are treated apart: the training code does the same.
     */
    fun end(index: Int): Int {
        if (!removesOne || index == 0) return origins[index]
        val last = origins[index - 1]
        return last + Character.charCount(original.codePointAt(last))
    }

    companion object {
        /** As MediaPipe's own tokenizer does it: ASCII in lower case, nothing else. */
        fun asMediaPipe(original: String): FoldedText {
            val text = original.map { if (it in 'A'..'Z') it + 32 else it }.joinToString("")
            return FoldedText(text, IntArray(text.length + 1) { it }, original, removesOne = false)
        }

        fun of(original: String, lowerCase: Boolean, stripAccents: Boolean = lowerCase): FoldedText {
            val text = StringBuilder(original.length)
            var origins = IntArray(original.length + 1)
            var at = 0
            while (at < original.length) {
                val codePoint = original.codePointAt(at)
                val begin = text.length
                if (codePoint < 128) {
                    text.append(foldAscii(codePoint.toChar(), lowerCase))
                } else {
                    text.append(fold(codePoint, lowerCase, stripAccents))
                }
                if (text.length >= origins.size) origins = origins.copyOf(2 * text.length)
                origins.fill(at, begin, text.length)
                at += Character.charCount(codePoint)
            }
            origins[text.length] = original.length
            return FoldedText(text.toString(), origins, original, removesOne = lowerCase != stripAccents)
        }
    }
}

private fun foldAscii(character: Char, lowerCase: Boolean): Char = when {
    character < ' ' || character == '\u007F' -> ' '
    lowerCase && character in 'A'..'Z' -> character + 32
    else -> character
}

private fun fold(codePoint: Int, lowerCase: Boolean, stripAccents: Boolean): String {
    val original = String(Character.toChars(codePoint))
    val category = Character.getType(codePoint).toByte()
    return when {
        lowerCase && stripAccents && isIgnorable(codePoint, category) -> ""
        category == Character.CONTROL || category == Character.FORMAT -> " "
        lowerCase && stripAccents -> withoutFillers(withoutMarks(decompose(caseFold(decompose(original)))))
        lowerCase -> original.lowercase(Locale.ROOT)
        stripAccents -> withoutMarks(Normalizer.normalize(original, Normalizer.Form.NFD))
        else -> original
    }
}

/**
 * Joiners, soft hyphens and the like, and the code points that Unicode reserves for more of them. A few format characters are
 * visible, such as Arabic number signs; they are excepted.
 */
private fun isIgnorable(codePoint: Int, category: Byte): Boolean = when (category) {
    Character.FORMAT ->
        !(codePoint in 0x0600..0x08E2 && codePoint != 0x061C || codePoint in 0xFFF9..0xFFFB || codePoint in 0x110BD..0x1343F)
    Character.UNASSIGNED -> codePoint == 0x2065 || codePoint in 0xFFF0..0xFFF8 || codePoint in 0xE0000..0xE0FFF
    else -> false
}

private fun decompose(text: String): String = Normalizer.normalize(text, Normalizer.Form.NFKD)

/** Unicode's full case folding, where ß becomes ss. Java has none; by way of the upper case the result is the same. */
private fun caseFold(text: String): String = when {
    text == "\u0131" -> text // the dotless i: its upper case would lead to an i with a dot
    isCherokee(text) -> text.uppercase(Locale.ROOT) // the one script that folds to capitals
    else -> text.lowercase(Locale.ROOT).uppercase(Locale.ROOT).lowercase(Locale.ROOT)
}

private fun isCherokee(text: String): Boolean =
    Character.UnicodeScript.of(text.codePointAt(0)) == Character.UnicodeScript.CHEROKEE

private fun withoutMarks(text: String): String =
    text.without { Character.getType(it).toByte() == Character.NON_SPACING_MARK }

private fun withoutFillers(text: String): String = text.without { it in HANGUL_FILLERS }

private fun String.without(removed: (Int) -> Boolean): String = buildString {
    this@without.codePoints().filter { !removed(it) }.forEach { appendCodePoint(it) }
}

private val HANGUL_FILLERS = 0x115F..0x1160
