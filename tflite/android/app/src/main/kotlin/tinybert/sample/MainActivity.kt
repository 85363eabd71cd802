package tinybert.sample

import android.app.Activity
import android.os.Bundle
import android.os.SystemClock
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import java.util.concurrent.Executors
import tinybert.Prediction

/** Two fields and a button for each model that lies among the assets. */
class MainActivity : Activity() {
    // One thread: an interpreter serves one caller at a time, and the screen must not wait for it.
    private val worker = Executors.newSingleThreadExecutor()
    private val opened = ArrayList<AutoCloseable>()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        val present = assets.list("").orEmpty().toSet()
        if (MODELS.none { it in present }) show(getString(R.string.no_models))

        val sentence = lazy { SentenceModel(this, SENTENCE).also(opened::add) }
        connect(R.id.sentence, SENTENCE in present) { first, _ -> written(sentence.value.classify(first)) }

        val pair = lazy { PairModel(this, PAIR).also(opened::add) }
        connect(R.id.pair, PAIR in present) { first, second -> written(pair.value.classify(first, second)) }

        val question = lazy { QuestionModel(this, QUESTION).also(opened::add) }
        connect(R.id.question, QUESTION in present) { first, second ->
            question.value.answer(first, second)?.text ?: getString(R.string.no_answer)
        }
    }

    /** Lets a button show what [compute] makes of the two fields, and in what time; the first time includes loading. */
    private fun connect(id: Int, enabled: Boolean, compute: (String, String) -> String) {
        val button = findViewById<Button>(id)
        button.isEnabled = enabled
        button.setOnClickListener {
            val (first, second) = listOf(R.id.first, R.id.second).map { findViewById<EditText>(it).text.toString() }
            worker.execute {
                val begin = SystemClock.elapsedRealtimeNanos()
                val result = runCatching { compute(first, second) }.getOrElse { it.message ?: it.toString() }
                val milliseconds = (SystemClock.elapsedRealtimeNanos() - begin) / 1e6
                runOnUiThread { show(getString(R.string.milliseconds, result, milliseconds)) }
            }
        }
    }

    private fun show(text: String) {
        findViewById<TextView>(R.id.output).text = text
    }

    override fun onDestroy() {
        worker.execute { opened.forEach { it.close() } }
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

private fun written(predictions: List<Prediction>): String =
    predictions.joinToString("\n") { "%s  %.3f".format(it.label, it.value) }
