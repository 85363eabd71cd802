package tinybert.sample

import android.content.Context
import com.google.mediapipe.tasks.text.textclassifier.TextClassifier
import java.io.FileInputStream
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter
import tinybert.Answer
import tinybert.ModelFile
import tinybert.ModelInput
import tinybert.Prediction
import tinybert.QuestionAnswerer
import tinybert.SpanLogits
import tinybert.encode
import tinybert.padded
import tinybert.ranked

/** Classifies single sentences by MediaPipe's task, which finds tokenizer and labels in the file itself. */
class SentenceModel(context: Context, asset: String) : AutoCloseable {
    private val classifier = TextClassifier.createFromFile(context, asset)

    fun classify(sentence: String): List<Prediction> =
        classifier.classify(sentence).classificationResult().classifications()[0].categories()
            .map { Prediction(it.categoryName(), it.score()) }

    override fun close() = classifier.close()
}

/** Classifies pairs of sentences, or gives a regression model's one value; MediaPipe's task takes no second sentence. */
class PairModel(context: Context, asset: String) : AutoCloseable {
    private val model = LiteRtModel(context, asset)
    private val labels = model.file.labels ?: listOf("score")

    fun classify(first: String, second: String): List<Prediction> {
        val input = model.tokenizer.encode(first, second, model.length).padded(model.length, model.tokenizer.padId)
        return ranked(labels, model.run(input)[0])
    }

    override fun close() = model.close()
}

/** Answers questions out of a text with a span model. */
class QuestionModel(context: Context, asset: String) : AutoCloseable {
    private val model = LiteRtModel(context, asset)
    private val answerer = QuestionAnswerer(model.tokenizer, model.length) { input ->
        val (end, start) = model.run(input) // in the order of the file, which is the Task Library's
        SpanLogits(start, end)
    }

    fun answer(question: String, text: String): Answer? = answerer.answer(question, text)

    override fun close() = model.close()
}

/** A model file in LiteRT's interpreter: ids, mask and segment ids in, a row of numbers for each output out. */
private class LiteRtModel(context: Context, asset: String) : AutoCloseable {
    private val content = mapped(context, asset)
    private val interpreter = Interpreter(content, Interpreter.Options().setNumThreads(2))

    val file = ModelFile(content)
    val tokenizer = file.tokenizer()
    val length: Int = interpreter.getInputTensor(0).shape()[1]

    fun run(input: ModelInput): List<FloatArray> {
        val inputs = arrayOf<Any>(arrayOf(input.ids), arrayOf(input.mask), arrayOf(input.segmentIds))
        val outputs = List(interpreter.outputTensorCount) { index ->
            arrayOf(FloatArray(interpreter.getOutputTensor(index).shape()[1]))
        }
        interpreter.runForMultipleInputsOutputs(inputs, outputs.withIndex().associate { (index, rows) -> index to rows })
        return outputs.map { it[0] }
    }

    override fun close() = interpreter.close()
}

/** An asset as it lies in the APK, which does not compress it: nothing is copied. */
private fun mapped(context: Context, asset: String): MappedByteBuffer =
    context.assets.openFd(asset).use { descriptor ->
        FileInputStream(descriptor.fileDescriptor).use { stream ->
            stream.channel.map(FileChannel.MapMode.READ_ONLY, descriptor.startOffset, descriptor.declaredLength)
        }
    }
