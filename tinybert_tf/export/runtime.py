"""A .tflite file as a function of tokenized text, on the runtime that phones have."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError
from tinybert_tf.export.flatbuffer import read_tflite


class TFLiteModel:
    """Runs an exported model with LiteRT.

    Attributes:
        seq_len: the fixed length of its inputs.
        outputs: names of what it returns.

    Args:
        path: a .tflite file whose signature has the inputs input_word_ids, input_mask and input_type_ids.
        num_threads: of the XNNPACK kernels.

    Raises:
        InputError: not a TFLite file, a damaged one, or one with other inputs.
    """

    def __init__(self, path: str | Path, num_threads: int = 1):
        content = read_tflite(path)
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{path}: LiteRT cannot load it ({reason}); it is damaged: export or copy it again"
            ) from None
        signatures = self._interpreter.get_signature_list()
        key, signature = next(iter(signatures.items()), (None, {"inputs": [], "outputs": []}))
        if sorted(signature["inputs"]) != sorted(INPUT_NAMES):
            found = ", ".join(sorted(signature["inputs"])) or "none"
            raise InputError(
                f"{path}: the signature's inputs are {found}, not {', '.join(INPUT_NAMES)}; "
                "tflite/convert.py writes files that have them"
            )
        runner = self._interpreter.get_signature_runner(key)
        self._inputs = {name: detail["index"] for name, detail in runner.get_input_details().items()}
        self._outputs = {name: detail["index"] for name, detail in runner.get_output_details().items()}
        shapes = {tuple(detail["shape"]) for detail in runner.get_input_details().values()}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] != 1:
            raise InputError(f"{path}: its inputs are not all [1, length]; tflite/convert.py writes files whose are")
        self.path = Path(path)
        self.seq_len = int(shape[1])
        self.outputs = tuple(sorted(self._outputs))

    def predict(self, features: Mapping[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        """Runs a batch, one row after the other.

        Args:
            features: int32 `[batch, seq]` by `INPUT_NAMES`; shorter rows than `seq_len` are padded with zeros, and longer
                ones are cut where nothing but padding is lost.

        Returns:
            `[batch, labels]` probabilities or `[batch, 1]` scores; a dict by name from a model with several outputs.
        """
        fitted = self.fit(features)
        rows = [
            self._run({name: value[row : row + 1] for name, value in fitted.items()}) for row in range(_rows(fitted))
        ]
        results = {name: np.concatenate([row[name] for row in rows]) for name in self.outputs} if rows else {}
        return results[self.outputs[0]] if len(self.outputs) == 1 else results

    def invoke(self) -> None:
        """Runs once more on the inputs of the last `predict`; what a benchmark times."""
        self._interpreter.invoke()

    def fit(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Brings features to `[batch, seq_len]`.

        Raises:
            InputError: a feature is missing, or rows hold more tokens than the file has room for.
        """
        missing = [name for name in INPUT_NAMES if name not in features]
        if missing:
            raise InputError(f"features lack {', '.join(missing)}; a tokenized batch has {', '.join(INPUT_NAMES)}")
        arrays = {name: np.asarray(features[name], np.int32) for name in INPUT_NAMES}
        longest = int(arrays["input_mask"].sum(axis=1).max(initial=0))
        if longest > self.seq_len:
            raise InputError(
                f"{self.path}: takes {self.seq_len} tokens, a row has {longest}; "
                "tokenize to that length or export with a larger --seq_len"
            )
        padding = max(0, self.seq_len - arrays["input_mask"].shape[1])
        return {name: np.pad(value, ((0, 0), (0, padding)))[:, : self.seq_len] for name, value in arrays.items()}

    def _run(self, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, value in row.items():
            self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _rows(features: Mapping[str, np.ndarray]) -> int:
    return len(features[INPUT_NAMES[0]])
