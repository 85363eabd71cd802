"""TensorFlow's own converter, for what is written as a TensorFlow function."""

import re

import tensorflow as tf

from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import flatbuffer


def convert(function, custom_operators: tuple[str, ...] = ()) -> bytes:
    """Converts a `tf.function` that has an input signature; builtin operations and `custom_operators` only.

    Raises:
        InputError: an operation that the TFLite runtimes lack, with the name of its node.
    """
    module = tf.Module()
    module.infer = function
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = bool(custom_operators)
    try:
        content = converter.convert()
    except tf.errors.OpError as error:
        raise InputError(f"TensorFlow cannot convert this network: {str(error).strip().splitlines()[0]}") from None
    except Exception as error:
        lines = re.findall(r"^(?:Flex|Custom) ops: (.*)$", str(error), re.MULTILINE)
        if not lines:
            raise
        raise _lacking(", ".join(lines).split(", "), concrete.graph) from None
    unknown = set(flatbuffer.custom_operators(flatbuffer.unpack(content))) - set(custom_operators)
    if unknown:
        raise _lacking(unknown, concrete.graph)
    return content


def _lacking(kinds, graph: tf.Graph) -> InputError:
    kinds = {kind.removeprefix("Flex") for kind in kinds}
    nodes = [f"{node.type} {node.name}" for node in graph.get_operations() if node.type in kinds]
    named = ", ".join(nodes or sorted(kinds))
    return InputError(f"this network needs operations that the stock TFLite runtimes lack: {named}")
