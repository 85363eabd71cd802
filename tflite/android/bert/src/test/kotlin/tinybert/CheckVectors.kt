package tinybert

import java.io.File
import java.nio.ByteBuffer
import kotlin.system.exitProcess

/**
 * Compares this module with what `make_test_vectors.py` wrote. The argument is the folder that it wrote. Prints what was
 * compared, and for a difference the input, what is right, and what this module gives; exit code 1 then.
 */
fun main(arguments: Array<String>) {
    val folders = File(arguments.single()).listFiles { file -> file.isDirectory }.orEmpty().sorted()
    val differences = folders.flatMap { vectors(it).differences() }
    differences.take(20).forEach { println(it) }
    println("${differences.size} differences")
    if (folders.isEmpty() || differences.isNotEmpty()) exitProcess(1)
}

private fun vectors(folder: File): Vectors {
    val model = folder.resolve("model.tflite").takeIf { it.exists() }?.let { ModelFile(ByteBuffer.wrap(it.readBytes())) }
    return Vectors(folder.name, model) { name -> folder.resolve(name).takeIf { it.exists() }?.readText() }
}
