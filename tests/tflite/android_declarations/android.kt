// Signatures of Android's classes that the app calls, without bodies: enough to type-check it where there is no SDK.
package android.app

import android.content.Context
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    open fun onCreate(savedInstanceState: Bundle?) {}

    open fun onDestroy() {}

    fun setContentView(layout: Int) {}

    fun <T : View> findViewById(id: Int): T = error("a declaration")

    fun runOnUiThread(action: () -> Unit) {}
}
