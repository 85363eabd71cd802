"""Files that contain the tokenizer: texts in, scores out.

The tokenizer is a `tf.function` that TensorFlow's converter translates; the network is written behind it. Its operators are
TensorFlow Text's, which the stock Android runtimes lack: such a file runs in an app that links them, and in Python with
`tensorflow_text.tflite_registrar`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import flatbuffer, integrity
from tinybert_tf.export.writer.builder import ModelBuilder
from tinybert_tf.export.writer.flatbuffer import read_tflite
from tinybert_tf.export.writer.graph import NetworkWriter

OPERATORS = ("FastBertNormalize", "FastWordpieceTokenizeWithOffsets")
INPUT_NAMES = ("text", "text_pair")


def write_with_tokenizer(
    builder: ModelBuilder, writer: NetworkWriter, tokenizer: Tokenizer, seq_len: int, pairs: bool
) -> None:
    """Adds a graph of one text, or a pair of texts (strings `[1]`), cut to `seq_len` word pieces as in training."""
    function = _tokenizing_function(tokenizer, seq_len, pairs)
    model = flatbuffer.unpack(convert(function, custom_operators=OPERATORS))
    with builder.graph_behind(model, "serving_default") as (graph, tokens):
        writer.write_behind(graph, tokens["ids"], tokens["mask"], tokens["types"])


def _tokenizing_function(tokenizer: Tokenizer, seq_len: int, pairs: bool):
    def pieces(text):
        # The values of the only row: a ragged tensor would need TensorFlow's own operators.
        return tokenizer.tokenize(text).flat_values

    def finish(ids, first_length):
        positions = tf.range(seq_len)
        mask = tf.cast(positions < tf.size(ids), tf.int32)
        types = tf.cast(positions >= first_length, tf.int32) * mask
        ids = tf.pad(ids, [[0, seq_len - tf.size(ids)]], constant_values=tokenizer.pad_id)
        return {"ids": tf.reshape(ids, [seq_len]), "mask": mask, "types": types}

    def tokenize_one(text):
        kept = pieces(text)[: seq_len - 2]
        return finish(tf.concat([[tokenizer.cls_id], kept, [tokenizer.sep_id]], 0), seq_len)

    def tokenize_pair(text, text_pair):
        first, second = pieces(text), pieces(text_pair)
        room = seq_len - 3
        # Round robin: each text may fill half of the room, the first one token more; what one leaves, the other may use.
        kept_first = tf.minimum(tf.size(first), tf.maximum(room - tf.size(second), (room + 1) // 2))
        kept_second = tf.minimum(tf.size(second), room - kept_first)
        first, second = first[:kept_first], second[:kept_second]
        ids = tf.concat([[tokenizer.cls_id], first, [tokenizer.sep_id], second, [tokenizer.sep_id]], 0)
        return finish(ids, kept_first + 2)

    names = INPUT_NAMES if pairs else INPUT_NAMES[:1]
    signature = [tf.TensorSpec([1], tf.string, name) for name in names]
    return tf.function(tokenize_pair if pairs else tokenize_one, input_signature=signature)


def convert(function, custom_operators: tuple[str, ...] = ()) -> bytes:
    """Converts a `tf.function` that has an input signature; builtin operators and `custom_operators` only.

    Raises:
        InputError: an operator that the TFLite runtimes lack, with the name of its node.
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
    return InputError(f"this network needs operators that the stock TFLite runtimes lack: {named}")


class TFLiteTextModel:
    """Runs a file that takes texts, with TensorFlow's interpreter and TensorFlow Text's operators.

    Attributes:
        inputs: their names: text, and for pairs text_pair.
        outputs: shapes of what it returns, by name.

    Raises:
        InputError: a damaged file, or one with other inputs.
    """

    def __init__(self, path: str | Path, num_threads: int = 1):
        from tensorflow.lite.python.interpreter import InterpreterWithCustomOps
        from tensorflow_text import tflite_registrar

        content = read_tflite(path)
        integrity.check(path, content)
        interpreter = InterpreterWithCustomOps(
            model_content=content,
            num_threads=num_threads,
            custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS,
        )
        self.path = Path(path)
        self._runner = interpreter.get_signature_runner()
        self.inputs = tuple(sorted(self._runner.get_input_details()))
        if self.inputs not in (INPUT_NAMES, INPUT_NAMES[:1]):
            raise InputError(f"{path}: its inputs are {', '.join(self.inputs)}, not texts")
        details = self._runner.get_output_details()
        self.outputs = {name: tuple(map(int, detail["shape"])) for name, detail in details.items()}

    def predict(self, texts: Sequence[bytes], text_pairs: Sequence[bytes] | None = None) -> np.ndarray:
        """UTF-8 texts -> `[texts, labels]` probabilities or `[texts, 1]` scores."""
        columns = [texts] if text_pairs is None else [texts, text_pairs]
        rows = [
            next(iter(self._runner(**dict(zip(self.inputs, map(_one, row), strict=True))).values()))
            for row in zip(*columns, strict=True)
        ]
        return np.concatenate(rows)


def _one(text: bytes) -> np.ndarray:
    return np.array([text], object)
