"""The learned matrices W of the hidden and embedding losses, stored beside a student and not in its weights."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tinybert_tf.checkpoints.huggingface import WEIGHT_FILES, read_safetensors, read_tensors
from tinybert_tf.checkpoints.weights import as_float32, check_numbers
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write

FILE_NAME = "distill.safetensors"
# In the file's metadata: how many hidden states the student has.
_STATES = "hidden_states"

Projection = tuple[np.ndarray, np.ndarray]  # kernel [student hidden, teacher hidden], bias [teacher hidden]


def read_projections(directory: str | Path, count: int) -> list[Projection | None] | None:
    """Reads `count` projections (one a hidden state, the embedding output first), or None where there are none.

    A hidden state that was not matched has none: None in its place.

    Looks in `distill.safetensors`, then in the weights themselves, where the published TinyBERT checkpoints have
    `fit_dense` (one for all) or `fit_denses.N` (one each).

    Raises:
        InputError: the number of projections is not that of the hidden states, or tensors that are not projections or hold
            no finite floats.
    """
    directory = Path(directory)
    path = directory / FILE_NAME
    if path.is_file():
        tensors = read_safetensors(path)
    elif any((directory / name).is_file() for name in WEIGHT_FILES):
        path, tensors = read_tensors(directory)
    else:
        return None  # a checkpoint of another kind than Hugging Face's
    if "fit_dense.weight" in tensors:
        shared = _projection(path, tensors, "fit_dense")
        return [shared] * count
    numbers = {int(found[1]) for name in tensors if (found := re.fullmatch(r"fit_denses\.(\d{1,9})\.weight", name))}
    if not numbers:
        return None
    states = _hidden_states(path) or len(numbers)
    if states != count or not numbers <= set(range(count)):
        raise InputError(
            f"{path}: has {states} projections (fit_denses.N), but this student has {count} hidden states; "
            "use the file that belongs to it or start without one"
        )
    return [_projection(path, tensors, f"fit_denses.{n}") if n in numbers else None for n in range(count)]


def _hidden_states(path: Path) -> int | None:
    """How many hidden states the student of a file has, matched or not; None for files that do not say so."""
    if path.suffix != ".safetensors":
        return None
    with safetensors.safe_open(path, framework="numpy") as file:
        states = (file.metadata() or {}).get(_STATES, "")
    return int(states) if re.fullmatch(r"\d{1,9}", states) else None


def _projection(path: Path, tensors: dict[str, np.ndarray], name: str) -> Projection:
    kernel = as_float32(tensors[f"{name}.weight"]).T
    bias = as_float32(tensors.get(f"{name}.bias", np.zeros(kernel.shape[-1:], np.float32)))
    if kernel.ndim != 2 or bias.shape != kernel.shape[1:]:
        raise InputError(
            f"{path}: {name} has a weight of shape {list(kernel.T.shape)} and a bias of {list(bias.shape)}, which do not make "
            "a projection; use the file that was written beside the student"
        )
    for part, values in (("weight", kernel), ("bias", bias)):
        check_numbers(path, f"{name}.{part}", values)
    return kernel, bias


def write_projections(projections: Mapping[int, Projection], directory: str | Path, count: int | None = None) -> None:
    """Writes `distill.safetensors` in a directory: projections by hidden state, under the names of the published checkpoints.

    Args:
        projections: kernel and bias, by the number of the hidden state.
        directory: of the student.
        count: hidden states of the student; by default all have a projection.
    """
    tensors = {}
    for number, (kernel, bias) in projections.items():
        tensors[f"fit_denses.{number}.weight"] = np.ascontiguousarray(np.asarray(kernel, np.float32).T)
        tensors[f"fit_denses.{number}.bias"] = np.asarray(bias, np.float32)
    with atomic_write(Path(directory) / FILE_NAME) as aside:
        safetensors.numpy.save_file(tensors, aside, metadata={_STATES: str(count or len(projections))})
