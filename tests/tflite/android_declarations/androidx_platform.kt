package androidx.test.platform.app

import android.content.Context

object InstrumentationRegistry {
    fun getInstrumentation(): Instrumentation = TODO()
}

class Instrumentation {
    val context: Context get() = TODO()
    val targetContext: Context get() = TODO()
}
