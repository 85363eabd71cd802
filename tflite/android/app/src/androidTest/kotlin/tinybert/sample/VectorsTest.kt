package tinybert.sample

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import kotlin.math.abs
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import tinybert.ModelFile
import tinybert.Vectors
import tinybert.encode
import tinybert.unescaped

/**
 * The app on a phone beside the training code: tokens, and the numbers that the model files give. The test's assets are
 * what `make_test_vectors.py app/src/androidTest/assets/vectors --models FILE ...` wrote.
 */
@RunWith(AndroidJUnit4::class)
class VectorsTest {
    private val app = InstrumentationRegistry.getInstrumentation().targetContext
    private val assets = InstrumentationRegistry.getInstrumentation().context.assets // the test's own

    private fun files(folder: String) = assets.list(folder).orEmpty().toList()

    private fun read(path: String) = assets.open(path).use { it.readBytes().decodeToString() }

    @Test
    fun tokensAreThoseOfTraining() {
        val folders = files(VECTORS)
        assertTrue("no assets in $VECTORS: run make_test_vectors.py", folders.isNotEmpty())
        for (folder in folders) {
            val names = files("$VECTORS/$folder")
            val model = if (MODEL in names) ModelFile(mapped(assets, "$VECTORS/$folder/$MODEL")) else null
            val vectors = Vectors(folder, model) { name -> if (name in names) read("$VECTORS/$folder/$name") else null }
            assertEquals(emptyList<String>(), vectors.differences())
        }
    }

    @Test
    fun outputsAreThoseOfPython() = outputsAgree(gpu = false, tolerance = 0.01f)

    @Test
    fun outputsOnTheGpuAreThoseOfPython() = outputsAgree(gpu = true, tolerance = 0.05f)

    private fun outputsAgree(gpu: Boolean, tolerance: Float) {
        for (folder in files(VECTORS).filter { OUTPUTS in files("$VECTORS/$it") }) {
            LiteRtModel(app, "$VECTORS/$folder/$MODEL", gpu, assets).use { model ->
                for (line in read("$VECTORS/$folder/$OUTPUTS").removeSuffix("\n").split("\n")) {
                    val (first, second, _, right) = line.split("\t")
                    val pair = if (second == NO_SECOND) null else unescaped(second)
                    val outputs = model.run(model.tokenizer.encode(unescaped(first), pair, model.length))
                    val expected = right.split(" ").map { it.toFloat() }
                    val got = outputs.values.first().toList()
                    assertEquals(expected.size, got.size)
                    val difference = expected.zip(got).maxOf { (a, b) -> abs(a - b) }
                    assertTrue("$folder: $line: $got", difference <= tolerance)
                }
            }
        }
    }

    private companion object {
        const val VECTORS = "vectors"
        const val MODEL = "model.tflite"
        const val OUTPUTS = "outputs.tsv"
        const val NO_SECOND = "\\u0000" // as make_test_vectors.py escapes it
    }
}
