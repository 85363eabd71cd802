package android.util

object Log {
    fun i(tag: String, message: String): Int = error("a declaration")

    fun w(tag: String, message: String, error: Throwable): Int = error("a declaration")
}
