"""Runs ONNX and TorchScript files of the same networks, for comparison. Their packages are no dependency of this one."""

import importlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError

# What transformers and optimum call the same inputs.
_HUGGING_FACE_NAMES = dict(zip(("input_ids", "attention_mask", "token_type_ids"), INPUT_NAMES, strict=True))


class OnnxModel:
    """An ONNX file on ONNX Runtime's CPU kernels.

    Attributes:
        seq_lens: the fixed length of its inputs; empty if it takes any length.

    Raises:
        InputError: no such file, no ONNX Runtime, a file that it cannot load, or one with other inputs.
    """

    def __init__(self, path: str | Path, num_threads: int = 1):
        runtime = _installed("onnxruntime", path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error classes have no common base class
            raise InputError(f"{path}: ONNX Runtime cannot load it ({' '.join(str(error).split())[:120]})") from None
        inputs = self._session.get_inputs()
        self._names = {entry.name: _HUGGING_FACE_NAMES.get(entry.name, entry.name) for entry in inputs}
        unknown = set(self._names.values()) - set(INPUT_NAMES)
        if unknown:
            raise InputError(f"{path}: its inputs {', '.join(sorted(unknown))} are not those of a BERT")
        self._types = {entry.name: np.int64 if "int64" in entry.type else np.int32 for entry in inputs}
        lengths = {entry.shape[1] for entry in inputs if len(entry.shape) == 2 and isinstance(entry.shape[1], int)}
        self.seq_lens = tuple(sorted(lengths))

    def run(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One row, int32 `[1, seq]` by `INPUT_NAMES`; the outputs by name."""
        inputs = {name: features[feature].astype(self._types[name]) for name, feature in self._names.items()}
        names = [entry.name for entry in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, inputs), strict=True))


class TorchModel:
    """A TorchScript file, called with ids, mask and types, int64 `[1, seq]`; takes any length.

    Raises:
        InputError: no such file, no PyTorch, or a file that it cannot load.
    """

    seq_lens = ()

    def __init__(self, path: str | Path, num_threads: int = 1):
        self._torch = _installed("torch", path)
        self._torch.set_num_threads(num_threads)
        try:
            self._module = self._torch.jit.load(str(path)).eval()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path}: PyTorch cannot load it ({' '.join(str(error).split())[:120]})") from None

    def run(self, features: Mapping[str, np.ndarray]):
        """One row, int32 `[1, seq]` by `INPUT_NAMES`; what the module returns."""
        with self._torch.inference_mode():
            return self._module(*(self._torch.from_numpy(features[name].astype(np.int64)) for name in INPUT_NAMES))


def _installed(package: str, path: str | Path):
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"{path}: needs the package {package}; install it, or leave the file out") from None
