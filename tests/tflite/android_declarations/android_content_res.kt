package android.content.res

import java.io.FileDescriptor
import java.io.InputStream

class AssetManager {
    fun list(path: String): Array<String>? = TODO()

    fun open(name: String): InputStream = TODO()

    fun openFd(name: String): AssetFileDescriptor = TODO()
}

class AssetFileDescriptor : AutoCloseable {
    val fileDescriptor: FileDescriptor get() = TODO()
    val startOffset: Long get() = TODO()
    val declaredLength: Long get() = TODO()

    override fun close() {}
}
