// After litert/kotlin/src/main/kotlin in https://github.com/google-ai-edge/LiteRT.
package com.google.ai.edge.litert

import android.content.Context
import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class LiteRtException(message: String) : Exception(message)

abstract class JniHandle internal constructor() : AutoCloseable {
    final override fun close() {}
}

class Environment private constructor() : JniHandle() {
    enum class Option { CompilerPluginLibraryDir, DispatchLibraryDir }

    companion object {
        fun create(
            context: Context,
            options: Map<Option, String> = mapOf(),
            enableCompilerCache: Boolean = true,
        ): Environment = error("a declaration")
    }
}

class Model private constructor() : JniHandle() {
    companion object {
        fun load(assetManager: AssetManager, assetName: String): Model = error("a declaration")
    }
}

class TensorBuffer internal constructor() : JniHandle() {
    fun writeInt(data: IntArray) {}

    fun readFloat(): FloatArray = error("a declaration")
}

class CompiledModel private constructor() : JniHandle() {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(internal val accelerators: Set<Accelerator>) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null
    }

    fun createInputBuffer(inputName: String, signature: String? = null): TensorBuffer = error("a declaration")

    fun createOutputBuffer(outputName: String, signature: String? = null): TensorBuffer = error("a declaration")

    fun run(
        inputs: Map<String, TensorBuffer>,
        outputs: Map<String, TensorBuffer>,
        signature: String? = null,
    ) {}

    companion object {
        fun create(model: Model, options: Options, optionalEnv: Environment? = null): CompiledModel = error("a declaration")
    }
}
