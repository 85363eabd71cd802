package tinybert

/**
 * Test vectors of `make_test_vectors.py`, and how this module differs from them. Used on the JVM (CheckVectors.kt) and on a
 * phone (`app/src/androidTest`).
 *
 * @param name of the folder that holds them, for messages.
 * @param model the model file in the folder, if there is one: the tokenizer is then made of it.
 * @param read the text of a file in the folder; null where there is none.
 */
class Vectors(private val name: String, private val model: ModelFile?, private val read: (String) -> String?) {
    private val tokenizer = model?.tokenizer() ?: settings().tokenizer(lines("vocab.txt").orEmpty())

    private fun settings() = TokenizerSettings(read("settings.json").orEmpty())

    private fun lines(file: String): List<String>? = read(file)?.removeSuffix("\n")?.split("\n")

    /** One text for each difference: the input, what is right, and what this module gives. */
    fun differences(): List<String> = compare("texts", ::tokens) + compare("pairs", ::pair) +
        compare("questions", ::answer) + compare("normalized", ::normalized) + compare("labels", ::label) +
        compare("signatures", ::signature)

    /** Rows of an input and of what must come out, with "=>" between. */
    private fun compare(kind: String, compute: (List<String>) -> List<String>): List<String> {
        val lines = lines("$kind.tsv") ?: return emptyList()
        val rows = lines.filter { it.isNotEmpty() }.map { it.split("\t") } // an empty file has one line, which is empty
        println("$name: ${rows.size} $kind")
        return rows.mapNotNull { row ->
            val arrow = row.indexOf("=>")
            val right = row.drop(arrow + 1)
            val got = compute(row.take(arrow).map(::unescaped)).map(::escaped)
            if (got == right) null else "$name, $kind: ${row.take(arrow)}\n  right $right\n  got   $got"
        }
    }

    private fun tokens(input: List<String>): List<String> {
        val pieces = tokenizer.tokenize(input[0])
        return listOf(pieces.map { it.id }, pieces.map { it.begin }, pieces.map { it.end }).map { it.joinToString(" ") }
    }

    private fun pair(input: List<String>): List<String> {
        val length = input[2].toInt()
        val encoded = tokenizer.encode(input[0], input[1], length).padded(length, tokenizer.padId)
        return listOf(encoded.ids, encoded.mask, encoded.segmentIds).map { it.joinToString(" ") }
    }

    private fun answer(input: List<String>): List<String> {
        val answerer = QuestionAnswerer(tokenizer, input[2].toInt(), stride = input[3].toInt(), run = ::scramble)
        val answer = answerer.answer(input[0], input[1]) ?: return listOf("", "", "")
        return listOf(answer.text, answer.score.toInt().toString(), answer.margin.toInt().toString())
    }

    private fun normalized(input: List<String>) = listOf(settings().normalize(input[0]))

    private fun label(input: List<String>) = listOf(model?.labels.orEmpty()[input[0].toInt()])

    private fun signature(input: List<String>): List<String> {
        val found = model?.signatures.orEmpty()[input[0].toInt()]
        return listOf(found.key, found.length.toString(), found.inputs.joinToString(" "), found.outputs.joinToString(" "))
    }
}

/** In place of a network: integers of ids and positions, the same as in make_test_vectors.py. */
private fun scramble(input: Encoded) = SpanLogits(
    start = FloatArray(input.ids.size) { ((input.ids[it] * 7919 + it * 10007) % 65521).toFloat() },
    end = FloatArray(input.ids.size) { ((input.ids[it] * 6007 + it * 12007) % 65521).toFloat() },
)

private fun escaped(text: String): String =
    text.map { if (it in ' '..'~' && it != '\\') it.toString() else "\\u%04x".format(it.code) }.joinToString("")

fun unescaped(text: String): String =
    Regex("""\\u([0-9a-f]{4})""").replace(text) { it.groupValues[1].toInt(16).toChar().toString() }
