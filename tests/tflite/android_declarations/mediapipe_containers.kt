package com.google.mediapipe.tasks.components.containers

class ClassificationResult {
    fun classifications(): List<Classifications> = TODO()
}

class Classifications {
    fun categories(): List<Category> = TODO()
}

class Category {
    fun categoryName(): String = TODO()

    fun score(): Float = TODO()
}
