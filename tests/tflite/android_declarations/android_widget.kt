package android.widget

import android.view.View

open class TextView : View() {
    var text: CharSequence = ""
}

class EditText : TextView()

open class Button : TextView()

class CheckBox : Button() {
    var isChecked = false
}
