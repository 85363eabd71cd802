"""Training through the rounding of a file's weights (quantization-aware distillation).

Before each step every weight matrix is replaced by the values that the file will have for it; the step is taken from there,
and its change is added to the exact matrix: the straight-through estimator (Bengio et al. 2013). Scales are chosen at the
beginning, as the exporter chooses them, and stay. What is saved are the rounded values. The exporter's own choice then gives the
same scales again, since the largest weight of a channel is always the largest integer times its scale. The factors that make
the inputs of layers even (`export.writer.smoothing`) are chosen at the beginning, too, and saved beside the weights.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel
from tinybert_tf.checkpoints.rounding import MODES, InputScaling, Rounding, write_rounding
from tinybert_tf.checkpoints.word_codes import codes_of
from tinybert_tf.errors import InputError
from tinybert_tf.export.calibration import calibrated, even_inputs
from tinybert_tf.export.writer.dense import FEWEST_QUANTIZED
from tinybert_tf.export.writer.quantization import (
    INTEGER_BITS,
    LARGEST,
    QUANTIZE_MODES,
    quantized,
)
from tinybert_tf.export.writer.weights import folded_weights
from tinybert_tf.train.coded_table import CodedTable

# Distance to the border between two integers, as a share of a scale, of weights that are moved to the other side.
_MARGIN = 0.02


class _Weight(NamedTuple):
    """A matrix that the file rounds.

    Attributes:
        name: of the dense layer in the file; None for the word table.
        variable: [in, out].
        bits: of its integers.
        gamma: of the normalization in front of it, [in], which is folded into it first, as the exporter does.
        divisor: of its rows, [in]: the factors of its input.
        factor: of its columns, [out]: for the attention's value those of the context.
        axis: has a scale for each index: the outputs, but where the file multiplies with the transposed matrix the inputs.
    """

    name: str | None
    variable: tf.Variable
    bits: int
    gamma: tf.Variable | None = None
    divisor: tf.Variable | None = None
    factor: tf.Variable | None = None
    axis: int = 1


class QuantizeAware(keras.callbacks.Callback):
    """Rounds the weights of a network while it trains.

    Args:
        model: the network; a part of the model that is fitted.
        mode: of the file, one of `MODES`.
        train_integers: False trains only what no rounding depends on, biases above all: integers, scales and tables stay as
            the exporter chooses them.

    Raises:
        InputError: another mode, or a head that has no file.
    """

    def __init__(self, model: BertModel, mode: str, train_integers: bool = True):
        super().__init__()
        if mode not in MODES:
            raise InputError(f"must be one of {', '.join(MODES)}", "quantize_aware", mode)
        self.mode, self._model = mode, model
        width = model.config.hidden_size
        ones = lambda: tf.Variable(tf.ones([width]), trainable=False)
        self._scaling = [InputScaling(ones(), ones(), ones()) for _ in model.transformer_layers]
        self._table = None
        has_codes = codes_of(model) is not None
        if has_codes and train_integers:
            self._table = CodedTable(model)
            model.embeddings.word_embeddings.trainable = True
        self._weights = _weights(model, mode, self._scaling, has_codes)
        if not train_integers:
            _freeze_integers(model, self._weights)
        self._variables = [weight.variable for weight in (*self._weights, *filter(None, [self._table]))]
        copies = lambda: [tf.Variable(variable, trainable=False) for variable in self._variables]
        self._exact, self._rounded = copies(), copies()
        self._scales = [
            tf.Variable(quantized(_folded(w).numpy(), w.bits, 1)[1], trainable=False) for w in self._weights
        ]
        # Of the training, beside the network's: a resumed one needs the numbers that it began with.
        self.state = [*self._scales, *(factors for layer in self._scaling for factors in layer)]
        if self._table is not None:
            self.state.append(self._table.shares)

    def on_train_batch_begin(self, batch, logs=None):
        self._round()

    def on_train_batch_end(self, batch, logs=None):
        self._step()

    def start_from(self, texts: Iterable[Mapping]) -> None:
        """Takes the exporter's scaling of inputs and its scales, and moves weights, as little as it takes, to where they are
        rounded as the exporter rounds them.

        The exporter's choice of integers loses less than the nearest ones; its scales of the word table suit the words that
        occur.

        Args:
            texts: batches of features, int [B, S]; the first rows are used, as many as the mode reads for a file.
        """
        model, mode = self._model, QUANTIZE_MODES[self.mode]
        features = _first_rows(texts, mode.example_texts)
        if self._table is not None:
            self._table.count(texts)
        network = folded_weights(model)
        scaling = even_inputs(model, network, model.head, mode, features)
        _, calibration = calibrated(model, network, model.head, mode, features, scaling)
        for layer, chosen in zip(self._scaling, scaling, strict=True):
            for variable, factors in zip(layer, chosen, strict=True):
                variable.assign(factors)
        for weight, scales in zip(self._weights, self._scales, strict=True):
            if weight.name is None:
                values = weight.variable.numpy()
                integers, chosen = quantized(
                    values, weight.bits, 1, calibration.word_sensitivity, calibration.word_counts
                )
                scales.assign(chosen)
                weight.variable.assign(np.clip(values, *_cells(integers, chosen, weight.bits)))
            elif weight.name in calibration.dense:
                values = _folded(weight).numpy().T
                seen = calibration.dense[weight.name]
                integers, chosen = quantized(values, weight.bits, 0, seen.moments, sensitivity=seen.sensitivity)
                scales.assign(chosen.T)
                moved = np.clip(values, *_cells(integers, chosen, weight.bits))
                weight.variable.assign(_unfolded(weight, tf.constant(moved.T, tf.float32)))

    @contextlib.contextmanager
    def rounded(self) -> Iterator[None]:
        """Inside this context the network has the rounded weights of its file."""
        self._round()
        if self._table is not None:
            self._table.keep()
        try:
            yield
        finally:
            for variable, exact in zip(self._variables, self._exact, strict=True):
                variable.assign(exact)

    def mark(self, directory: Path) -> None:
        """Records in a model directory that its weights are rounded."""
        scaling = tuple(InputScaling(*(factors.numpy() for factors in layer)) for layer in self._scaling)
        write_rounding(Rounding(self.mode, scaling), directory)

    # Of TinyBERT4 with a coded table: 96 ms of one core, 221 without XLA, the same bits.
    @tf.function(autograph=False, jit_compile=True)
    def _round(self):
        values = [
            _unfolded(weight, fake_quantized(_folded(weight), scales, weight.bits))
            for weight, scales in zip(self._weights, self._scales, strict=True)
        ]
        if self._table is not None:
            values.append(self._table.rounded())
        for variable, exact, rounded, value in zip(self._variables, self._exact, self._rounded, values, strict=True):
            exact.assign(variable)
            rounded.assign(value)
            variable.assign(rounded)

    @tf.function(autograph=False)
    def _step(self):
        for variable, exact, rounded in zip(self._variables, self._exact, self._rounded, strict=True):
            variable.assign(exact + (variable - rounded))


def _weights(model: BertModel, mode: str, scaling: Sequence[InputScaling], has_codes: bool) -> Sequence[_Weight]:
    """All matrices that the exporter rounds, except a coded word table, and the position and token type tables, of which a file
    keeps only some rows.
    """
    table_bits, bits = INTEGER_BITS[QUANTIZE_MODES[mode].embeddings], INTEGER_BITS[QUANTIZE_MODES[mode].weights]
    if any(variable.path.startswith("embeddings/project/") for variable in model.weights):
        raise InputError("is not for a model whose embeddings are narrower than its layers", "quantize_aware", mode)
    if model.head_layer is None:
        raise InputError(f"a model with the head {model.head!r} has no file", "quantize_aware", mode)
    found = []
    if not has_codes:
        found.append(_Weight(None, model.embeddings.word_embeddings.embeddings.value, table_bits))
    pooled, last = model.head in ("classification", "regression"), len(model.transformer_layers) - 1
    gamma = model.embeddings.layer_norm.gamma.value
    for number, (layer, factors) in enumerate(zip(model.transformer_layers, scaling, strict=True)):
        attention, name = layer.attention, f"layer_{number}"
        query, key, value = (part.kernel.value for part in (attention.query, attention.key, attention.value))
        # Where the first token alone is read, the file multiplies the queries with the key's transposed matrix.
        key_axis = 0 if pooled and number == last else 1
        after_attention = layer.attention_layer_norm.gamma.value
        found += [
            _Weight(f"{name}/attention/query", query, bits, gamma, factors.attention),
            _Weight(f"{name}/attention/key", key, bits, gamma, factors.attention, axis=key_axis),
            _Weight(f"{name}/attention/value", value, bits, gamma, factors.attention, factors.context),
            _Weight(f"{name}/attention/output", attention.output_dense.kernel.value, bits, divisor=factors.context),
            _Weight(
                f"{name}/intermediate", layer.intermediate.kernel.value, bits, after_attention, factors.intermediate
            ),
            _Weight(f"{name}/output", layer.output_dense.kernel.value, bits),
        ]
        gamma = layer.output_layer_norm.gamma.value
    if pooled:
        found.append(_Weight("pooler", model.pooler.dense.kernel.value, bits, gamma))
    found.append(_Weight("classifier", model.head_layer.kernel.value, bits, None if pooled else gamma))
    return [w for w in found if w.variable.shape[0] * w.variable.shape[1] >= FEWEST_QUANTIZED]


def _freeze_integers(model: BertModel, weights: Sequence[_Weight]) -> None:
    """Freezes tables, matrices that the file rounds, and what they are multiplied with before they are rounded."""
    rounded = {id(weight.variable) for weight in weights}
    for table in model.embeddings.tables:
        table.trainable = False
    for variable in model.trainable_variables:
        if variable.path.endswith("gamma") or id(variable.value) in rounded:
            variable.trainable = False


def _folded(weight: _Weight) -> tf.Tensor:
    """The matrix that the file holds, its channels last."""
    values = tf.convert_to_tensor(weight.variable)
    if weight.gamma is not None:
        values = values * tf.convert_to_tensor(weight.gamma)[:, None]
    if weight.factor is not None:
        values = values * weight.factor
    if weight.divisor is not None:
        values = values / tf.convert_to_tensor(weight.divisor)[:, None]
    return values if weight.axis == 1 else tf.transpose(values)


def _unfolded(weight: _Weight, folded: tf.Tensor) -> tf.Tensor:
    """The network's matrix for one of the file's; where gamma is nearly zero, its present values."""
    values = folded if weight.axis == 1 else tf.transpose(folded)
    if weight.divisor is not None:
        values = values * tf.convert_to_tensor(weight.divisor)[:, None]
    if weight.factor is not None:
        values = values / weight.factor
    if weight.gamma is None:
        return values
    gamma = tf.convert_to_tensor(weight.gamma)[:, None]
    is_used = tf.abs(gamma) > 1e-6
    return tf.where(is_used, values / tf.where(is_used, gamma, 1.0), tf.convert_to_tensor(weight.variable))


def fake_quantized(values: tf.Tensor, scales: tf.Tensor, bits: int) -> tf.Tensor:
    """Values [*, channels] rounded to multiples of scales [1, channels]; the largest of a channel to the largest multiple."""
    sizes = tf.abs(values)
    is_largest = sizes >= tf.reduce_max(sizes, axis=0, keepdims=True)
    integers = tf.clip_by_value(tf.round(values / scales), -LARGEST[bits], LARGEST[bits])
    return tf.where(is_largest, tf.sign(values) * LARGEST[bits], integers) * scales


def _cells(integers: np.ndarray, scales: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(low, high): between which values are rounded to these integers, with a margin."""
    half = 0.5 - _MARGIN
    # What is beyond the largest integer is clipped to it.
    low = np.where(integers == -LARGEST[bits], -np.inf, integers - half)
    high = np.where(integers == LARGEST[bits], np.inf, integers + half)
    return low * scales, high * scales


def _first_rows(batches: Iterable[Mapping], count: int) -> dict[str, np.ndarray]:
    """The first rows of some batches of features, padded with zeros to one length; without the rows that fill up a batch."""
    taken: list[Mapping] = []
    for batch in batches:
        has_text = np.asarray(batch["input_mask"]).any(axis=1)
        taken.append({name: np.asarray(batch[name], np.int32)[has_text] for name in INPUT_NAMES})
        if sum(len(features["input_mask"]) for features in taken) >= count:
            break
    longest = max(features["input_mask"].shape[1] for features in taken)
    pad = lambda rows: np.pad(rows, ((0, 0), (0, longest - rows.shape[1])))
    return {name: np.concatenate([pad(features[name]) for features in taken])[:count] for name in INPUT_NAMES}
