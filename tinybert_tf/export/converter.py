"""TensorFlow's own converter, for what is written as a TensorFlow function."""

import tensorflow as tf

from tinybert_tf.errors import InputError
from tinybert_tf.export import flatbuffer


def convert(function, custom_operators: tuple[str, ...] = ()) -> bytes:
    """Converts a `tf.function` that has an input signature; builtin operations and `custom_operators` only.

    Raises:
        InputError: an operation that the TFLite runtimes lack, by name.
    """
    module = tf.Module()
    module.infer = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = bool(custom_operators)
    try:
        content = converter.convert()
    except tf.errors.OpError as error:
        raise InputError(f"TensorFlow cannot convert this network: {_first_line(error)}") from None
    except Exception as error:
        if type(error).__name__ != "ConverterError":
            raise
        raise InputError(f"this network has an operation that TFLite lacks: {_first_line(error)}") from None
    unknown = set(flatbuffer.custom_operators(flatbuffer.unpack(content))) - set(custom_operators)
    if unknown:
        raise InputError(f"this network needs {', '.join(sorted(unknown))}, which the stock TFLite runtimes lack")
    return content


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("Flex ops:", "Custom ops:"))]
    return "; ".join(named) or (lines[0] if lines else type(error).__name__)
