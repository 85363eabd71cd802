package com.google.mediapipe.tasks.text.textclassifier

import android.content.Context
import com.google.mediapipe.tasks.components.containers.ClassificationResult

class TextClassifier : AutoCloseable {
    fun classify(text: String): TextClassifierResult = error("a declaration")

    override fun close() {}

    companion object {
        fun createFromFile(context: Context, modelPath: String): TextClassifier = error("a declaration")
    }
}

class TextClassifierResult {
    fun classificationResult(): ClassificationResult = error("a declaration")
}
