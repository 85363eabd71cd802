import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
}

// Java 11 is what Android's compiler takes from a library, whatever JDK runs Gradle.
kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_11 }
    // The comparison with test vectors; the app's test on a phone compiles it too.
    sourceSets.named("test") { kotlin.srcDir("src/vectors/kotlin") }
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

// gradle :bert:checkVectors -Pvectors=FOLDER, a folder that make_test_vectors.py wrote
tasks.register<JavaExec>("checkVectors") {
    classpath = sourceSets.test.get().runtimeClasspath
    mainClass = "tinybert.CheckVectorsKt"
    args(providers.gradleProperty("vectors").orElse("vectors").get())
}
