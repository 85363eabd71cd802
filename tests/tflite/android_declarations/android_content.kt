package android.content

import android.content.res.AssetManager
import java.io.File

abstract class Context {
    val assets: AssetManager get() = TODO()
    val codeCacheDir: File get() = TODO()

    fun getString(id: Int, vararg arguments: Any): String = TODO()
}
