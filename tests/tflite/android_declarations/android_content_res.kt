package android.content.res

import java.io.FileDescriptor
import java.io.InputStream

class AssetManager {
    fun list(path: String): Array<String>? = error("a declaration")

    fun open(name: String): InputStream = error("a declaration")

    fun openFd(name: String): AssetFileDescriptor = error("a declaration")
}

class AssetFileDescriptor : AutoCloseable {
    val fileDescriptor: FileDescriptor get() = error("a declaration")
    val startOffset: Long get() = error("a declaration")
    val declaredLength: Long get() = error("a declaration")

    override fun close() {}
}
