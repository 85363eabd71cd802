package android.os

class Bundle

object SystemClock {
    fun elapsedRealtimeNanos(): Long = error("a declaration")
}
