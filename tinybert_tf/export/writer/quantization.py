"""Numbers in fewer bits."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tinybert_tf.export.writer.rounding import rounded

# Of a softmax's output in int8, with -128 for zero.
PROBABILITY_STEP = 1 / 255

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
        static: attention computes in whole numbers whose ranges are fixed beforehand, from example texts; other products
            look up their inputs' ranges for each row while they run.
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


# Softmax, GELU and layer normalisation stay float32 in all of them: in int8 they leave the fast kernels and, in BERT, the
# accuracy. 2.9 brought GELU, 2.17 a scale for each output of a matrix that meets float32 activations; the look-up of int4
# rows is in LiteRT's own releases only.
QUANTIZE_MODES = {
    "none": Precision("float32"),
    "float16": Precision("float16 on disk, float32 when computed", "float16", "float16", runtime="2.17.0"),
    "dynamic": Precision("int8; activations quantized row by row as they come", "int8", "int8", runtime="2.17.0"),
    "int8": Precision("int8; attention by ranges seen on example texts", "int8", "int8", True, "2.17.0"),
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
        scale = (high - low or 1.0) / 255
        return scale, round(np.clip(-128 - low / scale, -128, 127))

    def even_step(self) -> tuple[float, int]:
        """The same with 0 as the zero point."""
        return (max(-self.low, self.high) or 1.0) / 127, 0


@dataclasses.dataclass(frozen=True)
class SeenInput:
    """What a dense layer read on example texts.

    Attributes:
        largest: [in], the largest absolute value of each of its inputs.
        moments: [in, in], the mean product of each two of them.
    """

    largest: np.ndarray
    moments: np.ndarray


@dataclasses.dataclass(frozen=True)
class SeenAttention:
    """What a layer's attention computed on example texts, where whole numbers of eight bits would serve it.

    Attributes:
        input, query, key, value, logits: their ranges; logits without the mask.
        context: likewise; None where the probabilities are too fine for eight bits and their product stays float32.
    """

    input: Range
    query: Range
    key: Range
    value: Range
    logits: Range
    context: Range | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a network saw on example texts: its dense layers by their names in the graph, its attentions by theirs."""

    dense: Mapping[str, SeenInput] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, SeenAttention] = dataclasses.field(default_factory=dict)


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
    # What is zero throughout has a scale like the others': kernels refuse one that is far from its result's.
    unused = largest.min(where=largest > 0, initial=largest.max() or 1.0)
    best_scales, least = None, None
    for share in _CLIPPING[bits]:
        scales = (np.where(largest > 0, largest, unused) * share / _LARGEST[bits]).astype(np.float32)
        error = np.square(_steps(values, scales, bits) * scales - values).sum(axis=others, keepdims=True)
        if best_scales is None:
            best_scales, least = scales, error
        best_scales, least = np.where(error < least, scales, best_scales), np.minimum(error, least)
    if moments is None:
        return _steps(values, best_scales, bits).astype(np.int8), best_scales
    return rounded(values / best_scales, _LARGEST[bits], moments).astype(np.int8), best_scales


def _steps(values: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.round(values / scales), -_LARGEST[bits], _LARGEST[bits])
