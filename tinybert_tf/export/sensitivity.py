"""What errors of a network's weights cost its answers, measured by derivatives on texts.

The second moments M of the answers' derivatives by the output of a layer, or by a row of the word table, say what an error e of
it costs: e' M e (Hassibi and Stork 1992, optimal brain surgeon). A few directions hold most of it (of the 312 of TinyBERT4's
word table on SST-2, 20 hold 77%), so that an error that is turned away from them costs little.

Moments of a layer's output come from the derivatives D by its kernel on a few texts at a time, as D'D (Tseng et al. 2025, YAQA,
https://arxiv.org/abs/2505.22988). The answers of these texts are added up with random signs: the square of the sum is in
expectation the sum of the squares, so that answers do not cancel each other.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel
from tinybert_tf.checkpoints.rounding import InputScaling
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.calibration import spread, text_lengths
from tinybert_tf.export.writer.quantization import Calibration
from tinybert_tf.progress import Progress

# Added to the diagonal, as a share of its mean: later layers compute also with what does not change the answers directly,
# and derivatives say nothing about large errors. On TinyBERT4's table of SST-2 in int4 the logits are off by 0.131 (root mean
# square) with the nearest integers, and by 0.106, 0.090, 0.075, 0.088, 0.093 and 0.120 with 10, 3, 1, 0.3, 0.1 and 0.03.
# Of its dense layers in int4, with 1, 0.1 and 0.03: 0.269 (200 texts), 0.177 (2,000), 0.180 (4,000).
_WORD_DAMPING, _OUTPUT_DAMPING = 1.0, 0.1
# Texts that are derived together; about how many tokens all texts have, and the fewest texts.
_TEXTS_AT_A_TIME, _TOKENS, _FEWEST_TEXTS = 8, 16_000, 64


class Sensitivity(NamedTuple):
    """What an error e of a row of the word table, or of a dense layer's output, costs the answers: e' M e, up to a factor.

    Attributes:
        word: float [D, D].
        dense: float [out, out] by the layers' names in a file.
    """

    word: np.ndarray
    dense: Mapping[str, np.ndarray]


def measure_sensitivity(
    model: BertModel, batches: Iterable[Mapping], seed: int = 0, head: str | None = None
) -> Sensitivity:
    """The sensitivity of a network's answers.

    Args:
        model: the network.
        batches: of features, int32 [B, S]; of more than 16,000 tokens evenly spaced texts are used.
        seed: of the signs.
        head: what the answers are; see `answers`.

    Raises:
        InputError: no text.
    """
    table, kernels = model.embeddings.word_embeddings.embeddings.value, _kernels(model)
    signs = tf.random.Generator.from_seed(seed)

    @tf.function(
        input_signature=[{name: tf.TensorSpec([None, None], tf.int32) for name in INPUT_NAMES}], autograph=False
    )
    def moments(features):
        sources = [table, *kernels.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            found = answers(model, features, head)
            chosen = tf.cast(signs.uniform(tf.shape(found), maxval=2, dtype=tf.int32) * 2 - 1, tf.float32)
            total = tf.reduce_sum(found * chosen)
        rows, *others = tape.gradient(total, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # A slice for each token; padding, which nothing reads, has zeros. A masked LM, which multiplies its states with the
        # table as well, has one for each row.
        rows = rows.values if isinstance(rows, tf.IndexedSlices) else rows
        found = [tf.reshape(rows, [-1, table.shape[1]]), *others]
        return [tf.matmul(tf.cast(d, tf.float32), tf.cast(d, tf.float32), transpose_a=True) for d in found]

    sums, parts = [0.0] * (1 + len(kernels)), list(_parts(batches))
    progress = Progress("derivatives", len(parts), "part", _TEXTS_AT_A_TIME)
    for done, features in enumerate(parts, 1):
        for number, found in enumerate(moments(features)):
            sums[number] = sums[number] + found.numpy()
        progress.show(done)
    progress.close()
    word, *dense = sums
    named = {name: _damped(found, _OUTPUT_DAMPING) for name, found in zip(kernels, dense, strict=True)}
    return Sensitivity(_damped(word, _WORD_DAMPING), named)


def with_sensitivity(
    calibration: Calibration,
    model: BertModel,
    features: Mapping,
    scaling: Sequence[InputScaling] | None,
    first_token_layer: int | None,
    head: str | None = None,
) -> Calibration:
    """A calibration that knows what errors cost the answers.

    Args:
        calibration: of the network with this scaling.
        model: the network, without a scaling.
        features: int32 [texts, S].
        scaling: of each layer's inputs, if there is one.
        first_token_layer: the layer, counted from 0, of which the first token alone is read; its keys are multiplied with the
            queries in another order, so that they are left out.
        head: of the file; see `answers`.
    """
    found = measure_sensitivity(model, [features], head=head)
    dense = dict(calibration.dense)
    for name, moments in found.dense.items():
        layer, _, part = name.partition("/")
        if name not in dense or (part == "attention/key" and layer == f"layer_{first_token_layer}"):
            continue
        if part == "attention/value" and scaling is not None:
            factor = scaling[int(layer.removeprefix("layer_"))].context
            moments = moments / factor / factor[:, None]
        dense[name] = dataclasses.replace(dense[name], sensitivity=moments)
    return dataclasses.replace(calibration, dense=dense, word_sensitivity=found.word)


def answers(model: BertModel, features: Mapping, head: str | None = None) -> tf.Tensor:
    """float32 of any shape: how clear each answer of a network is.

    Args:
        model: the network.
        features: int32 [B, S].
        head: "pooled", "mean" or "first_token" for a vector of each text; by default the model's own. An encoder's answers are
            all states of its last layer.
    """
    return clarity(model, model(features, training=False), features["input_mask"], head)


def clarity(model: BertModel, outputs: Mapping[str, tf.Tensor], mask: tf.Tensor, head: str | None = None) -> tf.Tensor:
    """As `answers`, for outputs that are computed already."""
    tokens, head = tf.cast(mask, tf.float32), head or model.head
    if head == "pooled":
        return tf.cast(outputs["pooled_output"], tf.float32)
    if head in ("first_token", "mean", "encoder"):
        states = tf.cast(outputs["sequence_output"], tf.float32)
        if head == "first_token":
            return states[:, 0]
        states *= tokens[..., None]
        return states if head == "encoder" else tf.reduce_sum(states, axis=1) / tf.reduce_sum(tokens, axis=1)[:, None]
    logits = tf.cast(outputs["logits"], tf.float32)
    if head == "regression":
        return logits
    if head == "span":  # [B, S, 2]: a class for each token
        masked = logits - 1e4 * (1 - tokens[..., None])
        mean = tf.reduce_sum(logits * tokens[..., None], axis=1) / tf.reduce_sum(tokens, axis=1)[:, None]
        return tf.reduce_max(masked, axis=1) - mean
    found = tf.reduce_max(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
    return found * tokens if len(found.shape) == 2 else found


def _kernels(model: BertModel) -> dict[str, tf.Variable]:
    """The kernels [in, out] of dense layers by their names in a file."""
    found = {}
    for number, layer in enumerate(model.transformer_layers):
        attention = layer.attention
        found |= {
            f"layer_{number}/attention/query": attention.query,
            f"layer_{number}/attention/key": attention.key,
            f"layer_{number}/attention/value": attention.value,
            f"layer_{number}/attention/output": attention.output_dense,
            f"layer_{number}/intermediate": layer.intermediate,
            f"layer_{number}/output": layer.output_dense,
        }
    if model.pooler is not None:
        found["pooler"] = model.pooler.dense
    return {name: dense.kernel.value for name, dense in found.items()}


def _parts(batches: Iterable[Mapping]) -> Iterator[dict[str, tf.Tensor]]:
    """A few rows at a time, of similar length and without columns that are padding in all of them."""
    rows = []
    for batch in batches:
        arrays = [np.asarray(batch[name], np.int32) for name in INPUT_NAMES]
        lengths = text_lengths(np.asarray(batch["input_mask"]))
        rows += [(int(length), row) for length, *row in zip(lengths, *arrays, strict=True) if length]
    if not rows:
        raise InputError("no text to measure derivatives on; give at least one, better some hundreds")
    tokens = sum(length for length, _ in rows)
    rows = spread(rows, max(len(rows) * _TOKENS // tokens, _FEWEST_TEXTS))
    rows = sorted(rows, key=lambda row: row[0])
    for start in range(0, len(rows), _TEXTS_AT_A_TIME):
        part = rows[start : start + _TEXTS_AT_A_TIME]
        longest = part[-1][0]
        columns = zip(*(row for _, row in part), strict=True)
        # Padding is not always zeros: what the mask hides is not read.
        padded = [
            np.stack([np.pad(values[:longest], (0, max(0, longest - len(values)))) for values in c]) for c in columns
        ]
        yield dict(zip(INPUT_NAMES, map(tf.constant, padded), strict=True))


def _damped(moments: np.ndarray, damping: float) -> np.ndarray:
    mean = np.trace(moments) / len(moments)
    return (moments / mean if mean > 0 else moments) + damping * np.eye(len(moments))
