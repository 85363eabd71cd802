package tinybert

import java.text.Normalizer
import java.util.Locale

/**
 * A text as the vocabulary spells it: lower case, compatibility forms written out, accents gone, control characters as
 * spaces. The rule is that of TensorFlow Text's FastBertTokenizer, which the models are trained with: each code point by
 * itself, Unicode's NFKC_Casefold, then NFD without nonspacing marks.
 *
 * @property text what came out.
 * @property origins for each character of [text], and for its end, where in the original it comes from.
 */
internal class FoldedText private constructor(val text: String, val origins: IntArray) {
    companion object {
        /** With [lowerCase] false, for cased vocabularies, only control characters change. */
        fun of(original: String, lowerCase: Boolean): FoldedText {
            val text = StringBuilder(original.length)
            var origins = IntArray(original.length + 1)
            var at = 0
            while (at < original.length) {
                val codePoint = original.codePointAt(at)
                val begin = text.length
                if (codePoint < 128) {
                    text.append(foldAscii(codePoint.toChar(), lowerCase))
                } else {
                    text.append(fold(codePoint, lowerCase))
                }
                if (text.length >= origins.size) origins = origins.copyOf(2 * text.length)
                origins.fill(at, begin, text.length)
                at += Character.charCount(codePoint)
            }
            origins[text.length] = original.length
            return FoldedText(text.toString(), origins)
        }
    }
}

private fun foldAscii(character: Char, lowerCase: Boolean): Char = when {
    character < ' ' || character == '\u007F' -> ' '
    lowerCase && character in 'A'..'Z' -> character + 32
    else -> character
}

private fun fold(codePoint: Int, lowerCase: Boolean): String {
    val original = String(Character.toChars(codePoint))
    val category = Character.getType(codePoint).toByte()
    return when {
        lowerCase && isIgnorable(codePoint, category) -> ""
        category == Character.CONTROL || category == Character.FORMAT -> " "
        lowerCase -> withoutMarks(decompose(caseFold(decompose(original))))
        else -> original
    }
}

/**
 * Joiners, soft hyphens and the like, and what Unicode keeps free for more of them. A few format characters show, such as
 * Arabic number signs: those are no part of it.
 */
private fun isIgnorable(codePoint: Int, category: Byte): Boolean = when (category) {
    Character.FORMAT ->
        !(codePoint in 0x0600..0x08E2 && codePoint != 0x061C || codePoint in 0xFFF9..0xFFFB || codePoint in 0x110BD..0x1343F)
    Character.UNASSIGNED -> codePoint == 0x2065 || codePoint in 0xFFF0..0xFFF8 || codePoint in 0xE0000..0xE0FFF
    else -> false
}

private fun decompose(text: String): String = Normalizer.normalize(text, Normalizer.Form.NFKD)

/** Unicode's full case folding, where ß becomes ss. Java has none; by way of the upper case it comes out the same. */
private fun caseFold(text: String): String = when {
    text == "\u0131" -> text // the dotless i: its upper case would lead to an i with a dot
    isCherokee(text) -> text.uppercase(Locale.ROOT) // the one script that folds to capitals
    else -> text.lowercase(Locale.ROOT).uppercase(Locale.ROOT).lowercase(Locale.ROOT)
}

private fun isCherokee(text: String): Boolean =
    Character.UnicodeScript.of(text.codePointAt(0)) == Character.UnicodeScript.CHEROKEE

private fun withoutMarks(text: String): String = buildString {
    text.codePoints()
        .filter { Character.getType(it).toByte() != Character.NON_SPACING_MARK && it !in HANGUL_FILLERS }
        .forEach { appendCodePoint(it) }
}

private val HANGUL_FILLERS = 0x115F..0x1160
