package tinybert.sample

import android.content.Context
import android.content.res.AssetManager
import android.util.Log
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.LiteRtException
import com.google.ai.edge.litert.Model
import com.google.ai.edge.litert.TensorBuffer
import java.io.File
import java.io.FileInputStream
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import tinybert.Encoded
import tinybert.ModelFile
import tinybert.Signature
import tinybert.Tokenizer
import tinybert.padded

/**
 * A model file of `tflite/convert.py`, run by LiteRT: word pieces in, numbers out. One thread at a time may use it.
 *
 * @param asset name of the file among [assets].
 * @param gpu try the GPU; where it cannot be used the CPU is, which the log says.
 * @param assets by default the app's.
 */
class LiteRtModel(
    context: Context,
    asset: String,
    gpu: Boolean = false,
    assets: AssetManager = context.assets,
) : AutoCloseable {
    val file = ModelFile(mapped(assets, asset))
    val tokenizer: Tokenizer = file.tokenizer()

    private val environment = Environment.create(context)
    private val model = Model.load(assets, asset)
    private val compiled = compile(cacheFile(context), gpu)
    private val graphs = file.signatures.map(::Graph)

    /** The longest text in word pieces, [CLS] and [SEP] included. */
    val length: Int = file.signatures.last().length

    /** The outputs by name; the shortest graph is run that holds the text. */
    fun run(input: Encoded): Map<String, FloatArray> = graphs.first { it.length >= input.ids.size }.run(input)

    private fun compile(cache: File, gpu: Boolean): CompiledModel {
        if (gpu) {
            try {
                // What the GPU does not compute, such as the embedding look-up, stays on the CPU.
                val both = CompiledModel.Options(Accelerator.GPU, Accelerator.CPU)
                return CompiledModel.create(model, both, environment).also { Log.i(TAG, "runs on the GPU") }
            } catch (error: LiteRtException) {
                Log.w(TAG, "runs on the CPU: the GPU cannot be used", error)
            }
        }
        val options = CompiledModel.Options(Accelerator.CPU)
        options.cpuOptions = CompiledModel.CpuOptions(numThreads = THREADS, xnnPackWeightCachePath = cache.path)
        return CompiledModel.create(model, options, environment)
    }

    /**
     * Where XNNPACK keeps the weights in the layout of this phone's processor: the next start maps them instead of packing
     * them again. Named after the model, so that another model never meets old weights.
     */
    private fun cacheFile(context: Context) = File(context.codeCacheDir, "${file.checksum ?: "model"}.xnnpack")

    /** A length of the model with its buffers, which are made at first use and written again for each text. */
    private inner class Graph(private val signature: Signature) : AutoCloseable {
        val length = signature.length
        private val buffers = lazy {
            signature.inputs.associateWith { compiled.createInputBuffer(it, signature.key) } to
                signature.outputs.associateWith { compiled.createOutputBuffer(it, signature.key) }
        }

        fun run(input: Encoded): Map<String, FloatArray> {
            val (inputs, outputs) = buffers.value
            val padded = input.padded(length, tokenizer.padId)
            inputs.getValue("input_word_ids").writeInt(padded.ids)
            inputs.getValue("input_mask").writeInt(padded.mask)
            inputs.getValue("input_type_ids").writeInt(padded.segmentIds)
            compiled.run(inputs, outputs, signature.key)
            return outputs.mapValues { (_, buffer) -> buffer.readFloat() }
        }

        override fun close() {
            if (!buffers.isInitialized()) return
            val (inputs, outputs) = buffers.value
            (inputs.values + outputs.values).forEach(TensorBuffer::close)
        }
    }

    override fun close() {
        graphs.forEach { it.close() }
        compiled.close()
        model.close()
        environment.close()
    }

    private companion object {
        const val TAG = "tinybert"

        // The two fastest cores; with more the threads of a model this small wait for each other.
        const val THREADS = 2
    }
}

/** An asset in place in the APK, which does not compress it: nothing is copied. */
internal fun mapped(assets: AssetManager, asset: String): MappedByteBuffer =
    assets.openFd(asset).use { descriptor ->
        FileInputStream(descriptor.fileDescriptor).use { stream ->
            stream.channel.map(FileChannel.MapMode.READ_ONLY, descriptor.startOffset, descriptor.declaredLength)
        }
    }
