package org.junit

annotation class Test

object Assert {
    fun assertTrue(message: String, condition: Boolean) {}

    fun assertEquals(expected: Any?, actual: Any?) {}
}
