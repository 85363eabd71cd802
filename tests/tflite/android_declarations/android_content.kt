package android.content

import android.content.res.AssetManager
import java.io.File

abstract class Context {
    val assets: AssetManager get() = error("a declaration")
    val codeCacheDir: File get() = error("a declaration")

    fun getString(id: Int, vararg arguments: Any): String = error("a declaration")
}
