"""A record beside weights that were trained with a file's rounding: the exporter must keep the same integers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, write_json

FILE_NAME = "quantization.json"
# The modes that weights can be trained for. Other modes hardly round them.
MODES = ("int8", "int4_embeddings", "int4")
# Of float32; larger integers are no error in JSON, but in NumPy.
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class InputScaling(NamedTuple):
    """Factors of the columns of what a layer's products read; the weights are divided by them. All [hidden size].

    Attributes:
        attention: of the input of query, key and value.
        context: of the input of the attention's output.
        intermediate: of the input of the feed-forward block.
    """

    attention: np.ndarray
    context: np.ndarray
    intermediate: np.ndarray


class Rounding(NamedTuple):
    """What weights were trained for.

    Attributes:
        mode: of the file.
        scaling: of each layer's inputs; the weights are multiples of the file's scales after it. None: as they are.
    """

    mode: str
    scaling: tuple[InputScaling, ...] | None = None


def write_rounding(rounding: Rounding, directory: str | Path) -> None:
    """Records in a model directory that its weights are multiples of the scales of a file."""
    content: dict = {"quantize_aware": rounding.mode}
    if rounding.scaling is not None:
        content["scaling"] = [
            {name: np.asarray(values).tolist() for name, values in layer._asdict().items()}
            for layer in rounding.scaling
        ]
    write_json(Path(directory) / FILE_NAME, content)


def read_rounding(directory: str | Path) -> Rounding | None:
    """What the weights of a model directory were trained for; None for no file's rounding.

    Raises:
        InputError: another mode, or a scaling that is none.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        return None
    content = read_json_object(path)
    mode, scaling = content.get("quantize_aware"), content.get("scaling")
    if mode is None:
        return None
    if mode not in MODES:
        raise InputError(f"{path}: quantize_aware={mode!r}; must be one of {', '.join(MODES)}")
    return Rounding(mode, None if scaling is None else _read_scaling(scaling, path))


def _read_scaling(layers: object, path: Path) -> tuple[InputScaling, ...]:
    if not isinstance(layers, list) or not layers:
        raise InputError(f"{path}: scaling must be a list of layers")
    return tuple(_read_layer(layer, f"{path}: scaling of layer {number}") for number, layer in enumerate(layers))


def _read_layer(layer: object, where: str) -> InputScaling:
    if not isinstance(layer, dict) or set(layer) != set(InputScaling._fields):
        raise InputError(f"{where}: must have {', '.join(InputScaling._fields)}")
    return InputScaling(**{name: _read_factors(values, f"{where}: {name}") for name, values in layer.items()})


def _read_factors(values: object, where: str) -> np.ndarray:
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not (is_list and all(isinstance(value, float | int) and _SMALLEST <= value <= _LARGEST for value in values)):
        raise InputError(f"{where}: must be a list of numbers above 0 that 32 bits hold")
    return np.asarray(values, np.float32)
