"""Quantization: the modes, the integers that stand for weights, and the ranges of activations.

`quantized` chooses a scale for each channel and rounds to it: to the nearest integers, or as `rounding` does.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tinybert_tf.export.writer.rounding import rounded

# Step of a softmax's output in int8, where -128 means zero.
PROBABILITY_STEP = 1 / 255

INTEGER_BITS = {"int4": 4, "int8": 8, "int16": 16}
LARGEST = {4: 7, 8: 127, 16: 32767}
_DTYPES = {4: np.int8, 8: np.int8, 16: np.int16}
# Shares of a channel's largest value that its last step may stand for: with 15 steps, clipping a little pays. Clipping
# more would lower the squared error further, but shrinks the weights and with them the logits.
_CLIPPING = {4: (1.0, 0.95, 0.9, 0.85, 0.8), 8: (1.0,), 16: (1.0,)}
# More are tried where it is known how often each row is read: what is clipped is then mostly rare. Of four students of SST-2,
# MRPC and CoLA the logits were off by 0.16, 0.12, 0.17 and 0.11 (root mean square) because of the int4 table, against 0.19,
# 0.16, 0.18 and 0.14 without counts, and up to twice that with these shares and without counts.
_CLIPPING_BY_COUNT = _CLIPPING | {4: tuple(share / 20 for share in range(20, 9, -1))}
# What a row counts for that the examples did not read.
_UNREAD = 0.05

# Example texts for four bits, and for ranges of activations.
MOST_TEXTS, RANGE_TEXTS = 2000, 200
# XNNPACK refuses steps that are no normal float32 numbers, below 1e-38.
_NOTHING = 1e-30
# Rows that are rounded at a time: those of a table would take memory several times over.
_ROWS = 16384


@dataclasses.dataclass(frozen=True)
class QuantizationMode:
    """How a file stores its numbers and computes with them.

    Attributes:
        meaning: one phrase for people.
        weights: type of the dense layers' matrices: "float32", "float16", "int8" or "int4". Integer weights make integer
            products.
        embeddings: type of the embedding tables: "float32", "int16", "int8" or "int4".
        static: attention computes in integers whose ranges are fixed in advance, from example texts; other products find
            the range of each row of their input while they run.
        scales_behind: weights that meet float32 activations have scale 1, and a MUL behind the product applies the scale
            of each output. Runtimes before 2.17 know no other form.
    """

    meaning: str
    weights: str = "float32"
    embeddings: str = "float32"
    static: bool = False
    scales_behind: bool = False

    @property
    def integer_weights(self) -> bool:
        """Whether example texts improve the file."""
        return self.weights in INTEGER_BITS

    @property
    def has_int4(self) -> bool:
        return "int4" in (self.weights, self.embeddings)

    @property
    def example_texts(self) -> int:
        """How many are read, `MOST_TEXTS` with four bits. Ranges of activations do not change with more than 200, but
        moments do: of TinyBERT4's int4 file of SST-2, whose phrases have 11 tokens, the logits are off by 0.31 with 200 and by
        0.23 with 2,000.
        """
        return MOST_TEXTS if self.has_int4 else RANGE_TEXTS


# Softmax, GELU and layer normalization stay float32 in all modes: in int8 they leave XNNPACK's kernels and lose accuracy.
# float16's tables are int16 with a scale for each dimension: as small, nearer to float32, and looked up by every runtime;
# GATHER on float16 is refused before TensorFlow 2.20.
QUANTIZE_MODES = {
    "none": QuantizationMode("float32"),
    "float16": QuantizationMode("float16 on disk, float32 when computed", "float16", "int16"),
    "dynamic": QuantizationMode(
        "int8; activations quantized row by row at run time", "int8", "int8", scales_behind=True
    ),
    "int8": QuantizationMode("int8; attention by ranges seen on example texts", "int8", "int8", static=True),
    "int4_embeddings": QuantizationMode("int8, the word table int4", "int8", "int4"),
    "int4": QuantizationMode("int4; activations quantized row by row at run time", "int4", "int4"),
}


@dataclasses.dataclass(frozen=True)
class Range:
    """The interval that holds a tensor's values, zero included."""

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
    """The input of a dense layer on example texts.

    Attributes:
        largest: [in], the largest absolute value of each column.
        moments: [in, in], the mean product of each two columns.
        sensitivity: [out, out], what an error of the layer's output costs the answers (`export.sensitivity`).
    """

    largest: np.ndarray
    moments: np.ndarray
    sensitivity: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SeenAttention:
    """The ranges of a layer's attention on example texts, for a layer that eight bits serve.

    Attributes:
        input, query, key, value: ranges of the projections' input and outputs.
        logits: before the mask is added.
        context: None where probabilities are too fine for eight bits, so that their product stays float32.
    """

    input: Range
    query: Range
    key: Range
    value: Range
    logits: Range
    context: Range | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a network computed on example texts.

    Attributes:
        dense, attention: by the names of dense layers and of attentions in the graph.
        word_counts: [vocabulary], how often each row of the word table was read.
        word_sensitivity: [D, D], what an error of such a row costs (`export.sensitivity`).
    """

    dense: Mapping[str, SeenInput] = dataclasses.field(default_factory=dict)
    attention: Mapping[str, SeenAttention] = dataclasses.field(default_factory=dict)
    word_counts: np.ndarray | None = None
    word_sensitivity: np.ndarray | None = None


def quantized(
    values: np.ndarray,
    bits: int,
    axis: int,
    moments: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    sensitivity: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales with values ~ integers * scales.

    Every index of `axis` has a scale of its own: the one of least squared error among a few that clip more or less of the
    largest values.

    Args:
        values: of two dimensions.
        bits: 4, 8 or 16.
        axis: 0 or 1.
        moments: [in, in] of the inputs that values, [out, in], are multiplied with. With them integers are chosen that
            leave a small error of the products, instead of the nearest ones. For a table, [rows, in], what an error of a
            row costs the answers (`export.sensitivity`).
        counts: [rows] of a table with axis 1: how often each row is read. Errors of a row weigh accordingly when scales are
            chosen.
        sensitivity: [out, out], what an error of the products costs the answers; with axis 0 and moments.

    Returns:
        integers of the shape of `values` (int16 for 16 bits, otherwise int8); scales, float32, of the same shape with 1
        in the other place than `axis`.
    """
    others = tuple(number for number in range(values.ndim) if number != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    # A channel of zeros, or of next to nothing, gets a scale like the others': kernels refuse one that is far from its result's.
    largest = np.where(largest > _NOTHING, largest, 0)
    unused = largest.min(where=largest > 0, initial=largest.max() or 1.0)
    clipping = _CLIPPING if counts is None else _CLIPPING_BY_COUNT
    weights = 1.0 if counts is None else np.maximum(counts, _UNREAD)[:, None]
    best_scales, least = None, None
    for share in clipping[bits]:
        scales = (np.where(largest > 0, largest, unused) * share / LARGEST[bits]).astype(np.float32)
        error = (weights * np.square(_nearest(values, scales, bits) * scales - values)).sum(axis=others, keepdims=True)
        if best_scales is None:
            best_scales, least = scales, error
        best_scales, least = np.where(error < least, scales, best_scales), np.minimum(error, least)
    if moments is None:
        return _nearest(values, best_scales, bits).astype(_DTYPES[bits]), best_scales
    if sensitivity is not None:
        integers = rounded(values / best_scales, LARGEST[bits], moments, sensitivity * best_scales * best_scales.T)
    else:
        # Where inputs have scales, the moments are those of inputs times scales.
        moments = moments * best_scales * best_scales.T if axis % 2 else moments
        parts = np.array_split(values / best_scales, -(-len(values) // _ROWS))
        integers = np.concatenate([rounded(part, LARGEST[bits], moments) for part in parts])
    return integers.astype(_DTYPES[bits]), best_scales


def _nearest(values: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.round(values / scales), -LARGEST[bits], LARGEST[bits])
