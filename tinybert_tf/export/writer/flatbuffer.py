"""A .tflite file as Python objects and back."""

import collections
import hashlib
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinybert_tf.errors import InputError

FILE_IDENTIFIER = b"TFL3"
# The format's limit for data inside the flatbuffer, whose offsets are signed 32-bit integers.
MAX_BYTES = 2**31 - 1


def read_tflite(path: str | Path) -> bytes:
    """The bytes of a .tflite file.

    Raises:
        InputError: no such file, or something other than a TFLite model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; tflite/convert.py writes one")
    content = path.read_bytes()
    if content[4:8] != FILE_IDENTIFIER:
        raise InputError(
            f"{path}: not a TFLite file (bytes 4 to 8 are {content[4:8]!r}, not {FILE_IDENTIFIER!r}); "
            "tflite/convert.py makes one from a model directory"
        )
    return content


def unpack(content: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(content)


def pack(model: schema.ModelT) -> bytes:
    data = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    if data > MAX_BYTES:
        raise InputError(
            f"the model holds {data / 1e9:.1f} GB, a TFLite file at most 2.1; quantize it or take a smaller one"
        )
    builder = _SharingBuilder(data + 2**20)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def operators(model: schema.ModelT) -> dict[str, int]:
    """How often each operator occurs in the first graph, by name; a custom operator by its custom name."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}

    def name(code: schema.OperatorCodeT) -> str:
        if code.customCode:
            return code.customCode.decode()
        # Files of the first schema versions have the operator only in the 8-bit field.
        return names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    counts = collections.Counter(
        name(model.operatorCodes[operator.opcodeIndex]) for operator in model.subgraphs[0].operators
    )
    return dict(counts.most_common())


def custom_operators(model: schema.ModelT) -> list[str]:
    """Operators that the stock runtimes lack, including TensorFlow's own (Flex)."""
    return sorted(code.customCode.decode() for code in model.operatorCodes if code.customCode)


class _SharingBuilder(flatbuffers.Builder):
    """Writes equal vectors once and aligns tensor data.

    A model with a scale for each channel repeats the same zero points, 8 bytes a channel, for each of its matrices. And
    kernels read tensor data in place: the format requires an alignment of 16 bytes, which the generated Python code does
    not keep.
    """

    def __init__(self, initial_size: int):
        super().__init__(initial_size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        payload = x.tobytes()
        key = (x.dtype.str, hashlib.sha256(payload).digest())
        if key not in self._written:
            self.StartVector(x.itemsize, x.size, 16 if x.dtype == np.uint8 else x.itemsize)
            self.head -= len(payload)
            self.Bytes[self.head : self.head + len(payload)] = payload
            self._written[key] = self.EndVector()
        return self._written[key]
