package androidx.test.platform.app

import android.content.Context

object InstrumentationRegistry {
    fun getInstrumentation(): Instrumentation = error("a declaration")
}

class Instrumentation {
    val context: Context get() = error("a declaration")
    val targetContext: Context get() = error("a declaration")
}
