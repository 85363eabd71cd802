package tinybert.sample

import android.app.Activity
import android.os.Bundle
import android.os.SystemClock
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.TextView
import java.util.concurrent.Executors
import tinybert.Prediction

/** Two fields and a button for each model among the assets. */
class MainActivity : Activity() {
    // One thread: a model serves one caller at a time, and the screen must not wait for it.
    private val worker = Executors.newSingleThreadExecutor()
    private val opened = HashMap<Pair<String, Boolean>, AutoCloseable>()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        val present = assets.list("").orEmpty().toSet()
        if (MODELS.none { it in present }) show(getString(R.string.no_models))

        connect(R.id.sentence, SENTENCE in present) { first, _, _ ->
            listed(model(SENTENCE, false) { SentenceModel(this, SENTENCE) }.classify(first))
        }
        connect(R.id.pair, PAIR in present) { first, second, gpu ->
            listed(model(PAIR, gpu) { PairModel(this, PAIR, gpu) }.classify(first, second.ifBlank { null }))
        }
        connect(R.id.question, QUESTION in present) { first, second, gpu ->
            val answer = model(QUESTION, gpu) { QuestionModel(this, QUESTION, gpu) }.answer(first, second)
            answer?.text ?: getString(R.string.no_answer)
        }
    }

    /** A model, opened at its first use; on the worker's thread alone. */
    @Suppress("UNCHECKED_CAST") // each asset has one class
    private fun <M : AutoCloseable> model(asset: String, gpu: Boolean, open: () -> M): M =
        opened.getOrPut(asset to gpu, open) as M

    /** Lets a button show what [compute] makes of the two fields, and in what time; the first time includes loading. */
    private fun connect(id: Int, enabled: Boolean, compute: (String, String, Boolean) -> String) {
        val button = findViewById<Button>(id)
        button.isEnabled = enabled
        button.setOnClickListener {
            val (first, second) = listOf(R.id.first, R.id.second).map { findViewById<EditText>(it).text.toString() }
            val gpu = findViewById<CheckBox>(R.id.gpu).isChecked
            worker.execute {
                val begin = SystemClock.elapsedRealtimeNanos()
                val result = runCatching { compute(first, second, gpu) }.getOrElse { it.message ?: it.toString() }
                val milliseconds = (SystemClock.elapsedRealtimeNanos() - begin) / 1e6
                runOnUiThread { show(getString(R.string.milliseconds, result, milliseconds)) }
            }
        }
    }

    private fun show(text: String) {
        findViewById<TextView>(R.id.output).text = text
    }

    override fun onDestroy() {
        worker.execute { opened.values.forEach { it.close() } }
        worker.shutdown()
        super.onDestroy()
    }

    private companion object {
        const val SENTENCE = "sentence.tflite"
        const val PAIR = "pair.tflite"
        const val QUESTION = "question.tflite"
        val MODELS = listOf(SENTENCE, PAIR, QUESTION)
    }
}

private fun listed(predictions: List<Prediction>): String =
    predictions.joinToString("\n") { "%s  %.3f".format(it.label, it.value) }
