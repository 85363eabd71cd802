"""Runs a .tflite file on tokenized text, with the runtime that phones have."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import integrity
from tinybert_tf.export.writer.calibration import text_lengths
from tinybert_tf.export.writer.flatbuffer import read_tflite


class TFLiteModel:
    """Runs an exported model with LiteRT.

    Attributes:
        seq_len: the longest length of its inputs.
        seq_lens: all lengths, ascending; a text runs at the shortest that holds it.
        outputs: shapes of what it returns at `seq_len`, by name.

    Args:
        path: a .tflite file whose signatures have the inputs input_word_ids, input_mask and input_type_ids.
        num_threads: of the XNNPACK kernels.
        verify: for a file of another exporter: run it once in a separate process first, since a damaged file may crash the
            process that loads it. Files of `export_tflite` are checked by their SHA-256 in any case.

    Raises:
        InputError: not a TFLite file, a damaged one, or one with other inputs.

    Example:

    ```python
    model = TFLiteModel("student.tflite")
    tokenizer = Tokenizer.from_directory("runs/student/model")
    features = tokenizer(["a charming journey"], seq_len=model.seq_len)
    model.predict({name: value.numpy() for name, value in features.items()})  # [[0.005, 0.995]]
    ```
    """

    def __init__(self, path: str | Path, num_threads: int = 1, verify: bool = False):
        content = read_tflite(path)
        integrity.check(path, content)
        if verify:
            integrity.try_run(path, content)
        self.path = Path(path)
        self._interpreter = _load(path, content, num_threads)
        self._runners = {}
        for key, signature in self._interpreter.get_signature_list().items():
            _check_inputs(path, signature["inputs"])
            runner = self._interpreter.get_signature_runner(key)
            self._runners[_length(path, runner)] = runner
        if not self._runners:
            _check_inputs(path, ())
        self.seq_lens = tuple(sorted(self._runners))
        self.seq_len = self.seq_lens[-1]
        details = self._runners[self.seq_len].get_output_details()
        self.outputs = {name: tuple(map(int, details[name]["shape"])) for name in sorted(details)}

    def predict(self, features: Mapping[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Runs a batch, one row after the other.

        Args:
            features: int32 `[batch, seq]` by `INPUT_NAMES`; shorter rows than `seq_len` are padded with zeros, and longer
                ones are cut where nothing but padding is lost. Padding before the text takes as much room as text.

        Returns:
            `[batch, labels]` probabilities or `[batch, 1]` scores; a dict by name from a model with several outputs.
            Outputs of each position, `[batch, seq_len, ...]`, are padded with zeros where a shorter length was run.
        """
        padded = self.pad(features)
        rows = [self._run({name: value[row] for name, value in padded.items()}) for row in range(_rows(padded))]
        results = {
            name: np.concatenate([row[name] for row in rows]) if rows else np.zeros((0, *shape[1:]), np.float32)
            for name, shape in self.outputs.items()
        }
        return next(iter(results.values())) if len(self.outputs) == 1 else results

    def run(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One row without padding, int32 `[1, seq]` by `INPUT_NAMES` with seq one of `seq_lens`; what a benchmark times."""
        try:
            return self._runners[features[INPUT_NAMES[0]].shape[1]](**features)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{self.path}: LiteRT cannot run it ({reason}); the ids may be of another vocabulary, else export it again"
            ) from None

    def pad(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Pads features with zeros to `[batch, seq_len]`, or removes padding beyond it.

        Args:
            features: int32 `[batch, seq]` by `INPUT_NAMES`.

        Raises:
            InputError: a feature is missing, or rows hold more tokens than the file has room for.
        """
        missing = [name for name in INPUT_NAMES if name not in features]
        if missing:
            raise InputError(f"features lack {', '.join(missing)}; a tokenized batch has {', '.join(INPUT_NAMES)}")
        arrays = {name: np.asarray(features[name], np.int32) for name in INPUT_NAMES}
        longest = int(text_lengths(arrays["input_mask"]).max(initial=0))
        if longest > self.seq_len:
            raise InputError(
                f"{self.path}: takes {self.seq_len} tokens, a row has {longest} with all before its last; tokenize to that "
                "length, with the padding behind, or export with a larger `seq_len`"
            )
        padding = max(0, self.seq_len - arrays["input_mask"].shape[1])
        return {name: np.pad(value, ((0, 0), (0, padding)))[:, : self.seq_len] for name, value in arrays.items()}

    def _run(self, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tokens = text_lengths(row["input_mask"][None])[0]
        length = next(length for length in self.seq_lens if length >= tokens)
        outputs = self.run({name: value[None, :length] for name, value in row.items()})
        missing = self.seq_len - length
        if not missing:
            return outputs
        # Outputs with an axis of positions at the longest length have one here.
        return {
            name: np.pad(
                value, [(0, whole - size) for whole, size in zip(self.outputs[name], value.shape, strict=True)]
            )
            for name, value in outputs.items()
        }


def _load(path: str | Path, content: bytes, num_threads: int) -> Interpreter:
    try:
        interpreter = Interpreter(model_content=content, num_threads=num_threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if "custom op" in str(error):
            raise InputError(
                f"{path}: needs TensorFlow Text's operators to read texts; convert the model without `text_input`"
            ) from None
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: LiteRT cannot load it ({reason}); export or copy it again") from None
    return interpreter


def _check_inputs(path: str | Path, inputs: Sequence[str]) -> None:
    if sorted(inputs) != sorted(INPUT_NAMES):
        raise InputError(
            f"{path}: the signature's inputs are {', '.join(sorted(inputs)) or 'none'}, not {', '.join(INPUT_NAMES)}; "
            "tflite/convert.py writes files that have them"
        )


def _length(path: str | Path, runner) -> int:
    shapes = {tuple(detail["shape"]) for detail in runner.get_input_details().values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] != 1:
        raise InputError(f"{path}: its inputs are not all [1, length]; tflite/convert.py writes files whose are")
    return int(shape[1])


def _rows(features: Mapping[str, np.ndarray]) -> int:
    return len(features[INPUT_NAMES[0]])
