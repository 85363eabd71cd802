package tinybert

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipInputStream

/**
 * What a .tflite file of `tflite/convert.py` holds beside its network. The files are a zip archive behind the network's
 * last byte, so that one memory map serves them and the runtime.
 *
 * @throws IllegalArgumentException if there is no vocabulary in the file.
 */
class ModelFile(content: ByteBuffer) {
    private val bytes = content.slice().order(ByteOrder.LITTLE_ENDIAN)
    private val root = Table(bytes, bytes.getInt(0))
    private val files = attachedFiles(bytes)
    private val json = metadata(root, "tinybert_tf")?.decodeToString().orEmpty()
    private val settings = TokenizerSettings(json)

    /** Word pieces by id. */
    val vocabulary: List<String> =
        requireNotNull(files["vocab.txt"]) { "no vocab.txt in the model file: write it with tflite/convert.py, without --text_input" }

    /** Classes by id; null for a model that does not classify. */
    val labels: List<String>? = files["labels.txt"].takeUnless { "\"head\": \"regression\"" in json }

    /** A text as the vocabulary spells it, for MediaPipe's tasks and the Task Library. */
    fun normalize(text: String): String = settings.normalize(text)

    /** Words that are kept whole. MediaPipe and the Task Library split them. */
    val addedTokens: List<AddedToken> = settings.addedTokens

    /** The graphs in the file, the shortest first: a text runs through the first that holds it. */
    val signatures: List<Signature> = root.tables(SIGNATURES).map { signature(root, it) }.sortedBy { it.length }

    /** SHA-256 of the file as it was written, to name what is cached for it; null for a file of another origin. */
    val checksum: String? =
        metadata(root, "tinybert_tf_sha256")?.joinToString("") { byte -> "%02x".format(byte.toInt() and 0xff) }

    /** The tokenizer that the model was trained with. */
    fun tokenizer(): Tokenizer = settings.tokenizer(vocabulary)
}

/** How texts are prepared for the vocabulary; [json] is what `tflite/convert.py` writes into the file. */
class TokenizerSettings(json: String) {
    private val lowerCase = "\"lower_case\": false" !in json
    private val stripAccents = if ("\"strip_accents\": " in json) "\"strip_accents\": true" in json else lowerCase
    val addedTokens = ADDED_TOKEN.findAll(json).map { match ->
        val (content, normalized, singleWord) = match.destructured
        AddedToken(unquoted(content), normalized == "true", singleWord == "true")
    }.toList()
    private val truncateLeft = "\"truncation_side\": \"left\"" in json
    private val asMediaPipe = "\"normalization\": \"mediapipe\"" in json

    fun tokenizer(vocabulary: List<String>) =
        Tokenizer(vocabulary, lowerCase, stripAccents, addedTokens, truncateLeft, asMediaPipe)

    fun normalize(text: String): String =
        if (asMediaPipe) FoldedText.asMediaPipe(text).text else normalize(text, lowerCase, stripAccents)
}

/** An added token in JSON: its content, whether it is normalized, whether it is a single word. */
private val ADDED_TOKEN = Regex("""\["((?:[^"\\]|\\.)*)", (true|false), (true|false)]""")

/** A text of JSON without its escapes. */
private fun unquoted(text: String): String = Regex("""\\(u([0-9a-fA-F]{4})|.)""").replace(text) { match ->
    val (escape, code) = match.destructured
    if (code.isEmpty()) CONTROLS[escape] ?: escape else code.toInt(16).toChar().toString()
}

private val CONTROLS = mapOf("n" to "\n", "t" to "\t", "r" to "\r", "b" to "\b", "f" to "\u000c")

/**
 * A graph of the file.
 *
 * @property length of its inputs, in word pieces.
 */
data class Signature(val key: String, val length: Int, val inputs: List<String>, val outputs: List<String>)

private fun signature(root: Table, table: Table): Signature {
    val inputs = table.tables(SIGNATURE_INPUTS)
    val tensors = root.tables(SUBGRAPHS)[table.int(SIGNATURE_SUBGRAPH)].tables(SUBGRAPH_TENSORS)
    return Signature(
        key = table.text(SIGNATURE_KEY).orEmpty(),
        length = tensors[inputs[0].int(NAMED_INDEX)].ints(TENSOR_SHAPE)[1],
        inputs = inputs.map { it.text(NAMED_NAME).orEmpty() },
        outputs = table.tables(SIGNATURE_OUTPUTS).map { it.text(NAMED_NAME).orEmpty() },
    )
}

private fun attachedFiles(model: ByteBuffer): Map<String, List<String>> {
    val archive = archive(model) ?: return emptyMap()
    ZipInputStream(archive.inputStream()).use { zip ->
        return generateSequence { zip.nextEntry }.associate { entry ->
            val text = zip.readBytes().decodeToString()
            entry.name to text.removeSuffix("\n").split("\n").map { it.removeSuffix("\r") }
        }
    }
}

/**
 * The archive from its first file on. It ends with a record that says where its directory is, and the directory says where
 * each file is. ZipFile would need the model on disk, outside the APK.
 */
private fun archive(model: ByteBuffer): ByteArray? {
    val end = (model.limit() - END_SIZE downTo 0).firstOrNull { model.getInt(it) == END_SIGNATURE } ?: return null
    val directory = model.getInt(end + 16)
    val first = model.getInt(directory + 42)
    val rest = model.duplicate().apply { position(first) }
    return ByteArray(rest.remaining()).also { rest.get(it) }
}

private const val END_SIGNATURE = 0x06054b50
private const val END_SIZE = 22

/** What the flatbuffer holds under [name]. The numbers of fields are those of TensorFlow Lite's schema. */
private fun metadata(root: Table, name: String): ByteArray? {
    val entry = root.tables(METADATA).firstOrNull { it.text(METADATA_NAME) == name } ?: return null
    return root.tables(BUFFERS)[entry.int(METADATA_BUFFER)].bytes(BUFFER_DATA)
}

private const val SUBGRAPHS = 2
private const val BUFFERS = 4
private const val METADATA = 6
private const val SIGNATURES = 7
private const val SUBGRAPH_TENSORS = 0
private const val TENSOR_SHAPE = 0
private const val SIGNATURE_INPUTS = 0
private const val SIGNATURE_OUTPUTS = 1
private const val SIGNATURE_KEY = 2
private const val SIGNATURE_SUBGRAPH = 4
private const val NAMED_NAME = 0
private const val NAMED_INDEX = 1
private const val METADATA_NAME = 0
private const val METADATA_BUFFER = 1
private const val BUFFER_DATA = 0

/** A table of a flatbuffer: its first word says how far before it the list of its fields is. */
private class Table(private val bytes: ByteBuffer, private val at: Int) {
    private fun field(number: Int): Int? {
        val fields = at - bytes.getInt(at)
        val entry = 4 + 2 * number
        if (entry >= bytes.getShort(fields)) return null
        return bytes.getShort(fields + entry).toInt().takeIf { it != 0 }?.let { at + it }
    }

    private fun vector(number: Int): Int? = field(number)?.let { it + bytes.getInt(it) }

    fun int(number: Int): Int = field(number)?.let { bytes.getInt(it) } ?: 0

    fun bytes(number: Int): ByteArray? =
        vector(number)?.let { begin -> ByteArray(bytes.getInt(begin)) { bytes.get(begin + 4 + it) } }

    fun text(number: Int): String? = bytes(number)?.decodeToString()

    fun ints(number: Int): List<Int> =
        vector(number)?.let { begin -> List(bytes.getInt(begin)) { bytes.getInt(begin + 4 + 4 * it) } } ?: emptyList()

    fun tables(number: Int): List<Table> = vector(number)?.let { begin ->
        List(bytes.getInt(begin)) { index -> (begin + 4 + 4 * index).let { Table(bytes, it + bytes.getInt(it)) } }
    } ?: emptyList()
}
