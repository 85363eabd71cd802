"""Finds damaged files before an interpreter loads them.

The runtimes follow a file's offsets and indices unchecked, so that a damaged file ends the process or answers wrongly.
Files of this package contain their SHA-256, which finds every change. Of other files the references are checked; `try_run`
also runs one in a separate process, for files of doubtful origin. Nothing here protects against a file that was made to do
harm: a model is a program.
"""

import hashlib
import math
import subprocess
import sys
from pathlib import Path

from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import metadata
from tinybert_tf.export.writer.flatbuffer import schema, unpack

SEAL_NAME = b"tinybert_tf_sha256"
# Placeholder of the digest; the digest is that of the file with the placeholder in it.
_BLANK = hashlib.sha256(b"tinybert_tf: the place of the digest").digest()

_BITS = {
    schema.TensorType.FLOAT32: 32,
    schema.TensorType.FLOAT16: 16,
    schema.TensorType.INT32: 32,
    schema.TensorType.INT64: 64,
    schema.TensorType.INT16: 16,
    schema.TensorType.INT8: 8,
    schema.TensorType.UINT8: 8,
    schema.TensorType.INT4: 4,
}


def reserve_seal(model: schema.ModelT) -> None:
    """Adds a placeholder of the digest to an unpacked model."""
    metadata.add_entry(model, SEAL_NAME, _BLANK)


def sealed(content: bytes) -> bytes:
    """A complete file with the digest in place of its placeholder."""
    return content.replace(_BLANK, hashlib.sha256(content).digest(), 1)


# Runs every graph of a file once, on zeros, in bounded memory.
_TRIAL = """
import resource, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
content = sys.stdin.buffer.read()
if sys.platform == "linux":
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * len(content) + 2**30,) * 2)
interpreter = Interpreter(model_content=content, num_threads=1)
interpreter.allocate_tensors()
for key in interpreter.get_signature_list():
    runner = interpreter.get_signature_runner(key)
    inputs = runner.get_input_details().items()
    runner(**{name: np.zeros(detail["shape"], detail["dtype"]) for name, detail in inputs})
"""
_TRIAL_SECONDS = 60


def check(path: str | Path, content: bytes) -> None:
    """Refuses a damaged file; the file is not run.

    Args:
        path: for the message.
        content: all bytes of the file.

    Raises:
        InputError: the digest differs, or parts refer to parts that do not exist.
    """
    try:
        digest = metadata.find_entry(content, SEAL_NAME)
        if digest is not None and hashlib.sha256(content.replace(digest, _BLANK, 1)).digest() != digest:
            raise ValueError("its SHA-256 has changed since it was written")
        _check_references(unpack(content))
    except Exception as error:
        # Offsets of a damaged flatbuffer point anywhere: whatever the exception is, the file is at fault.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); export or copy it again") from None


def try_run(path: str | Path, content: bytes) -> None:
    """Runs a file that has no digest once in a separate process, which it may crash; files of this package, which have a
    digest, are not run.

    Args:
        path: for the message.
        content: all bytes of the file, after `check`.

    Raises:
        InputError: the process crashed, timed out, or LiteRT refused the file.
    """
    if metadata.find_entry(content, SEAL_NAME) is not None:
        return
    command = [sys.executable, "-c", _TRIAL]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_TRIAL_SECONDS)
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f"ends the process, {done.returncode}" if done.returncode < 0 or not lines else lines[-1][:120]
        is_bad = done.returncode != 0
    except subprocess.TimeoutExpired:
        is_bad, reason = True, f"takes more than {_TRIAL_SECONDS} s"
    if is_bad:
        raise InputError(f"{path}: LiteRT cannot run it ({reason}); export or copy it again")


def _check_references(model: schema.ModelT) -> None:
    if not model.subgraphs:
        raise ValueError("no graph in it")
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _check_tensor(tensor, model.buffers)
        _check_order(graph, model)
    for signature in model.signatureDefs or ():
        graph = model.subgraphs[_below(signature.subgraphIndex, len(model.subgraphs), "graph")]
        for entry in (*signature.inputs, *signature.outputs):
            _below(entry.tensorIndex, len(graph.tensors), "tensor")


def _check_tensor(tensor: schema.TensorT, buffers: list) -> None:
    data = buffers[_below(tensor.buffer, len(buffers), "buffer")].data
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    if min(shape, default=0) < -1:
        raise ValueError(f"a tensor of shape {shape}")
    if data is not None and len(data) and tensor.type in _BITS:
        expected = math.ceil(math.prod(shape) * _BITS[tensor.type] / 8)
        if len(data) != expected:
            raise ValueError(f"a tensor of shape {shape} with {len(data)} bytes instead of {expected}")
    scales = None if tensor.quantization is None else tensor.quantization.scale
    if scales is not None and len(scales) > 1:
        axis = _below(tensor.quantization.quantizedDimension, len(shape), "axis")
        if len(scales) != shape[axis]:
            raise ValueError(f"{len(scales)} scales for a tensor of shape {shape}")


def _check_order(graph: schema.SubGraphT, model: schema.ModelT) -> None:
    """Every operator reads only constants, inputs and results of operators before it."""
    count = len(graph.tensors)
    written = {index for index, tensor in enumerate(graph.tensors) if _is_constant(tensor, model)}
    written |= {_below(index, count, "tensor") for index in graph.inputs}
    for operator in graph.operators:
        _below(operator.opcodeIndex, len(model.operatorCodes), "operator")
        missing = {int(index) for index in operator.inputs if index != -1} - written
        if missing:
            raise ValueError(f"an operator reads tensor {min(missing)}, which nothing has written")
        written |= {_below(index, count, "tensor") for index in operator.outputs}
    if not {int(index) for index in graph.outputs} <= written:
        raise ValueError("an output that nothing has written")


def _is_constant(tensor: schema.TensorT, model: schema.ModelT) -> bool:
    data = model.buffers[tensor.buffer].data
    return (data is not None and len(data) > 0) or (tensor.shape is not None and 0 in tensor.shape)


def _below(index: int, count: int, kind: str) -> int:
    if not 0 <= index < count:
        raise ValueError(f"{kind} {index} of {count}")
    return int(index)
