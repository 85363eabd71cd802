plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "tinybert.sample"
    compileSdk = 37

    defaultConfig {
        applicationId = "tinybert.sample"
        minSdk = 28
        targetSdk = 37
        versionCode = 2
        versionName = "2.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
            // A release that installs at once. Sign it with a key of your own before you publish it.
            signingConfig = signingConfigs.getByName("debug")
        }
    }

    // The runtimes map a model out of the APK in place.
    androidResources { noCompress += "tflite" }

    // Uncompressed and aligned native libraries, which the runtimes' AARs hold aligned to 16 KB: phones with pages of 16 KB
    // load them out of the APK.
    packaging { jniLibs { useLegacyPackaging = false } }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }

    // The comparison with test vectors that :bert runs on the JVM.
    sourceSets.getByName("androidTest").kotlin.directories += "../bert/src/vectors/kotlin"
}

dependencies {
    implementation(project(":bert"))
    implementation(libs.litert)
    implementation(libs.litert.gpu)
    implementation(libs.mediapipe.text)
    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.androidx.test.junit)
}
