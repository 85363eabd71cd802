"""Numbers in fewer bits."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tinybert_tf.export.rounding import rounded

_LARGEST = {8: 127, 4: 7}
# Shares of a channel's largest value that its last step may stand for: with 15 steps it pays to clip a little. Clipping
# more would lower the squared error further, but shrinks the weights and with them the logits.
_CLIPPING = {8: (1.0,), 4: (1.0, 0.95, 0.9, 0.85, 0.8)}


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a file holds its numbers and computes with them.

    Attributes:
        meaning: for people.
        weights, embeddings: "float32", "float16", "int8" or "int4". Integer weights make integer products.
        static: the range of every product's input and output is fixed beforehand, from example texts, instead of being
            looked up for each row while it runs.
        runtime: the first TensorFlow Lite or LiteRT whose kernels know the file's operations.
    """

    meaning: str
    weights: str = "float32"
    embeddings: str = "float32"
    static: bool = False
    runtime: str = "2.9.0"

    @property
    def integer_weights(self) -> bool:
        """Whether example texts improve the file."""
        return self.weights in ("int8", "int4")


# Softmax, GELU, layer normalisation and the products of attention stay float32 in all of them: in int8 they leave the fast
# kernels and, in BERT, the accuracy. 2.9 brought GELU, 2.17 a scale for each output of a matrix that meets float32
# activations; the look-up of int4 rows is in LiteRT's own releases only.
QUANTIZE_MODES = {
    "none": Precision("float32"),
    "float16": Precision("float16 on disk, float32 when computed", "float16", "float16", runtime="2.17.0"),
    "dynamic": Precision("int8; activations quantized row by row as they come", "int8", "int8", runtime="2.17.0"),
    "int8": Precision("int8; activations by ranges seen on example texts", "int8", "int8", True, "2.17.0"),
    "int4_embeddings": Precision("int8, the word table int4", "int8", "int4", runtime="2.20.0"),
    "int4": Precision("int4, activations quantized row by row as they come", "int4", "int4", runtime="2.20.0"),
}


@dataclasses.dataclass(frozen=True)
class Range:
    """What the values of a tensor lie in, zero included."""

    low: float
    high: float

    def step(self) -> tuple[float, int]:
        """(scale, zero point) with which int8 spans the range."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = max(high - low, 1e-6) / 255
        return scale, round(np.clip(-128 - low / scale, -128, 127))


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a dense layer saw on example texts.

    Attributes:
        largest: [in], the largest absolute value of each of its inputs.
        moments: [in, in], the mean product of each two of them.
        ranges: of its inputs and of its outputs; None where fixed steps of int8 would serve them badly.
    """

    largest: np.ndarray
    moments: np.ndarray
    ranges: tuple[Range, Range] | None


# By the name of a dense layer in the graph.
Calibration = Mapping[str, Seen]


def quantized(
    values: np.ndarray, bits: int, axis: int, moments: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Steps (int8, though they may need fewer bits) and scales with values ~ steps * scales.

    Every index of `axis` has a scale of its own, the one that leaves the least squared error among a few that clip more or
    less of the largest values.

    Args:
        moments: [in, in] of the inputs that values, [out, in], are multiplied with: then steps are taken that leave little
            error of the products, instead of the nearest.

    Returns:
        steps of the shape of `values`; scales, float32, of the same shape with 1 in every other place than `axis`.
    """
    others = tuple(number for number in range(values.ndim) if number != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    best_scales, least = None, None
    for share in _CLIPPING[bits]:
        scales = np.where(largest > 0, largest * share / _LARGEST[bits], 1).astype(np.float32)
        error = np.square(_steps(values, scales, bits) * scales - values).sum(axis=others, keepdims=True)
        if best_scales is None:
            best_scales, least = scales, error
        best_scales, least = np.where(error < least, scales, best_scales), np.minimum(error, least)
    if moments is None:
        return _steps(values, best_scales, bits).astype(np.int8), best_scales
    return rounded(values / best_scales, _LARGEST[bits], moments).astype(np.int8), best_scales


def _steps(values: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.round(values / scales), -_LARGEST[bits], _LARGEST[bits])
