package tinybert

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipInputStream

/**
 * What a .tflite file of `tflite/convert.py` carries beside its network. The files are a zip archive behind the network's
 * last byte, so that one memory map serves them and the interpreter.
 *
 * @throws IllegalArgumentException if there is no vocabulary in the file.
 */
class ModelFile(content: ByteBuffer) {
    private val bytes = content.slice().order(ByteOrder.LITTLE_ENDIAN)
    private val files = attachedFiles(bytes)

    /** Word pieces by id. */
    val vocabulary: List<String> =
        requireNotNull(files["vocab.txt"]) { "no vocab.txt in the model file: write it with tflite/convert.py" }

    /** Classes by id; null for a model that does not classify. */
    val labels: List<String>? = files["labels.txt"]

    /** Whether the vocabulary is one of lower case. */
    val lowerCase: Boolean = metadata(bytes, "tinybert_tf")?.contains("\"lower_case\": false") != true

    /** The tokenizer that the model was trained with. */
    fun tokenizer() = Tokenizer(vocabulary, lowerCase)
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
 * The archive from its first file on. A zip archive is found from behind: it ends with a record that says where its
 * directory is, and the directory says where each file is. ZipFile would need the model on disk, outside the APK.
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

/** What the flatbuffer itself holds as a text under [name]; the fields' numbers are those of TensorFlow Lite's schema. */
private fun metadata(model: ByteBuffer, name: String): String? {
    val root = Table(model, model.getInt(0))
    val entry = root.tables(METADATA).firstOrNull { it.text(METADATA_NAME) == name } ?: return null
    return root.tables(BUFFERS)[entry.int(METADATA_BUFFER)].text(BUFFER_DATA)
}

private const val BUFFERS = 4
private const val METADATA = 6
private const val METADATA_NAME = 0
private const val METADATA_BUFFER = 1
private const val BUFFER_DATA = 0

/** A flatbuffer's table: where it begins stands how far before it its list of fields is, and there where each field is. */
private class Table(private val bytes: ByteBuffer, private val at: Int) {
    private fun field(number: Int): Int? {
        val fields = at - bytes.getInt(at)
        val entry = 4 + 2 * number
        if (entry >= bytes.getShort(fields)) return null
        return bytes.getShort(fields + entry).toInt().takeIf { it != 0 }?.let { at + it }
    }

    private fun vector(number: Int): Int? = field(number)?.let { it + bytes.getInt(it) }

    fun int(number: Int): Int = field(number)?.let { bytes.getInt(it) } ?: 0

    fun text(number: Int): String? = vector(number)?.let { begin ->
        ByteArray(bytes.getInt(begin)) { bytes.get(begin + 4 + it) }.decodeToString()
    }

    fun tables(number: Int): List<Table> = vector(number)?.let { begin ->
        List(bytes.getInt(begin)) { index -> (begin + 4 + 4 * index).let { Table(bytes, it + bytes.getInt(it)) } }
    } ?: emptyList()
}
