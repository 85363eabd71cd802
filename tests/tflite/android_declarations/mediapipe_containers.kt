package com.google.mediapipe.tasks.components.containers

class ClassificationResult {
    fun classifications(): List<Classifications> = error("a declaration")
}

class Classifications {
    fun categories(): List<Category> = error("a declaration")
}

class Category {
    fun categoryName(): String = error("a declaration")

    fun score(): Float = error("a declaration")
}
