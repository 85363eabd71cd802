package tinybert

import java.io.File
import java.nio.ByteBuffer
import kotlin.system.exitProcess

/**
 * Compares this module with what `make_test_vectors.py` wrote down of the training code. The argument is the folder it
 * wrote. Prints what was compared, and for a difference the text, what is right and what came out; exit code 1 then.
 */
fun main(arguments: Array<String>) {
    val folders = File(arguments.single()).listFiles { file -> file.isDirectory }.orEmpty().sorted()
    val differences = folders.flatMap { folder -> Vectors(folder).differences() }
    differences.take(20).forEach { println(it) }
    println("${differences.size} differences")
    if (folders.isEmpty() || differences.isNotEmpty()) exitProcess(1)
}

private class Vectors(private val folder: File) {
    private val model = folder.resolve("model.tflite").takeIf { it.exists() }?.let { ModelFile(ByteBuffer.wrap(it.readBytes())) }
    private val tokenizer = model?.tokenizer()
        ?: Tokenizer(folder.resolve("vocab.txt").readText().removeSuffix("\n").split("\n"), lowerCase = folder.name != "cased")

    fun differences(): List<String> = compare("texts", ::tokens) + compare("pairs", ::pair) + compare("questions", ::answer) +
        compare("labels") { listOf(model?.labels.orEmpty()[it[0].toInt()]) }

    /** Rows of what goes in and what must come out, with "=>" between. */
    private fun compare(name: String, compute: (List<String>) -> List<String>): List<String> {
        val file = folder.resolve("$name.tsv")
        if (!file.exists()) return emptyList()
        val rows = file.readLines().map { it.split("\t") }
        println("${folder.name}: ${rows.size} $name")
        return rows.mapNotNull { row ->
            val arrow = row.indexOf("=>")
            val right = row.drop(arrow + 1)
            val got = compute(row.take(arrow).map(::unescaped)).map(::escaped)
            if (got == right) null else "${folder.name}, $name: ${row.take(arrow)}\n  right $right\n  got   $got"
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
}

/** In place of a network: whole numbers from ids and positions, the same as in make_test_vectors.py. */
private fun scramble(input: ModelInput) = SpanLogits(
    start = FloatArray(input.ids.size) { ((input.ids[it] * 7919 + it * 10007) % 65521).toFloat() },
    end = FloatArray(input.ids.size) { ((input.ids[it] * 6007 + it * 12007) % 65521).toFloat() },
)

private fun escaped(text: String): String =
    text.map { if (it in ' '..'~' && it != '\\') it.toString() else "\\u%04x".format(it.code) }.joinToString("")

private fun unescaped(text: String): String =
    Regex("""\\u([0-9a-f]{4})""").replace(text) { it.groupValues[1].toInt(16).toChar().toString() }
