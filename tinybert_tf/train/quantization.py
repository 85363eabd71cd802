"""Training through the rounding of a file's weights (quantization-aware distillation).

Before each step every weight matrix is replaced by the values that the file will have for it; the step is taken from there,
and its change is added to the exact matrix: the straight-through estimator (Bengio et al. 2013). What is saved are the rounded
values. They lie on the grid of the exporter, whose own choice of scales then gives back the scales of the training: the largest
weight of a channel is the largest integer times its scale. So the weights themselves carry the scales.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.grid import MODES, write_grid
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.graph import FEWEST_QUANTIZED
from tinybert_tf.export.writer.quantization import CLIPPING, INTEGER_BITS, LARGEST, QUANTIZE_MODES


class _Weight(NamedTuple):
    """A matrix that the file rounds: to `bits`, with a scale for each index of the last axis, which both layouts have last.

    `gamma` of a normalization in front of it is folded into it first, as the exporter does.
    """

    variable: tf.Variable
    bits: int
    gamma: tf.Variable | None


class QuantizeAware(keras.callbacks.Callback):
    """Rounds the weights of a network while it trains.

    Args:
        model: the network; a part of the model that is fitted.
        mode: of the file, one of `MODES`.

    Raises:
        InputError: another mode, or a head that has no file.
    """

    def __init__(self, model: BertModel, mode: str):
        super().__init__()
        if mode not in MODES:
            raise InputError(f"must be one of {', '.join(MODES)}", "quantize_aware", mode)
        self.mode = mode
        self._weights = _weights(model, mode)
        copies = lambda: [tf.Variable(weight.variable, trainable=False) for weight in self._weights]
        self._exact, self._rounded = copies(), copies()

    def on_train_batch_begin(self, batch, logs=None):
        self._round()

    def on_train_batch_end(self, batch, logs=None):
        self._step()

    @contextlib.contextmanager
    def rounded(self) -> Iterator[None]:
        """Inside this context the network has the rounded weights of its file."""
        self._round()
        try:
            yield
        finally:
            for weight, exact in zip(self._weights, self._exact, strict=True):
                weight.variable.assign(exact)

    def mark(self, directory: Path) -> None:
        """Records in a model directory that its weights are rounded."""
        write_grid(self.mode, directory)

    @tf.function
    def _round(self):
        for weight, exact, rounded in zip(self._weights, self._exact, self._rounded, strict=True):
            exact.assign(weight.variable)
            rounded.assign(_as_in_file(weight))
            weight.variable.assign(rounded)

    @tf.function
    def _step(self):
        for weight, exact, rounded in zip(self._weights, self._exact, self._rounded, strict=True):
            weight.variable.assign(exact + (weight.variable - rounded))


def _weights(model: BertModel, mode: str) -> Sequence[_Weight]:
    """All matrices that the exporter rounds, except the position and token type tables, of which a file keeps only some
    rows.
    """
    precision = QUANTIZE_MODES[mode]
    found = [(model.embeddings.word_embeddings.embeddings, precision.embeddings, None)]
    if any(variable.path.startswith("embeddings/project/") for variable in model.weights):
        raise InputError("is not for a model whose embeddings are narrower than its layers", "quantize_aware", mode)
    gamma = model.embeddings.layer_norm.gamma
    for layer in model.transformer_layers:
        attention = layer.attention
        found += [
            (dense.kernel, precision.weights, gamma) for dense in (attention.query, attention.key, attention.value)
        ]
        found.append((attention.output_dense.kernel, precision.weights, None))
        found.append((layer.intermediate.kernel, precision.weights, layer.attention_layer_norm.gamma))
        found.append((layer.output_dense.kernel, precision.weights, None))
        gamma = layer.output_layer_norm.gamma
    if model.head_layer is None:
        raise InputError(f"a model with the head {model.head!r} has no file", "quantize_aware", mode)
    pooled = model.head in ("classification", "regression")
    if pooled:
        found.append((model.pooler.dense.kernel, precision.weights, gamma))
    found.append((model.head_layer.kernel, precision.weights, None if pooled else gamma))
    return [
        _Weight(variable.value, INTEGER_BITS[stored], None if norm is None else norm.value)
        for variable, stored, norm in found
        if variable.shape[0] * variable.shape[1] >= FEWEST_QUANTIZED
    ]


def _as_in_file(weight: _Weight) -> tf.Tensor:
    values = tf.convert_to_tensor(weight.variable)
    if weight.gamma is None:
        return fake_quantized(values, weight.bits)
    gamma = tf.convert_to_tensor(weight.gamma)[:, None]
    is_used = tf.abs(gamma) > 1e-6
    return tf.where(is_used, fake_quantized(values * gamma, weight.bits) / tf.where(is_used, gamma, 1.0), values)


def fake_quantized(values: tf.Tensor, bits: int) -> tf.Tensor:
    """Values [*, channels] as `export.writer.quantization.quantized` rounds them, a scale for each channel."""
    largest = tf.reduce_max(tf.abs(values), axis=0, keepdims=True)
    largest = tf.where(largest > 0, largest, 1.0)
    best, least = None, None
    for share in CLIPPING[bits]:
        scale = largest * (share / LARGEST[bits])
        rounded = tf.clip_by_value(tf.round(values / scale), -LARGEST[bits], LARGEST[bits]) * scale
        error = tf.reduce_sum(tf.square(rounded - values), axis=0, keepdims=True)
        if best is None:
            best, least = rounded, error
        best, least = tf.where(error < least, rounded, best), tf.minimum(error, least)
    return best
