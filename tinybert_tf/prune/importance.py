"""Importance of the parts of a network for its answers, measured on texts.

A head or a neuron is multiplied by a gate g = 1. The derivative of an answer by g is the sum over the tokens of gradient times
activation (Michel et al. 2019, "Are Sixteen Heads Really Better than One?"; Molchanov et al. 2017). Since a gate scales the
outgoing weights as well as the activation, that is also the sum of gradient times outgoing weight: the network needs no hook.

The importance is the root mean square of that derivative over texts. Answers of a batch are added up with random signs: the
square of the sum is then in expectation the sum of the squares, so that texts of a batch do not cancel each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel
from tinybert_tf.export.sensitivity import answers, clarity


class Importance(NamedTuple):
    """heads [layers, heads] and neurons [layers, intermediate]; larger is more important."""

    heads: np.ndarray
    neurons: np.ndarray


def measure_importance(model: BertModel, batches: Iterable[Mapping], seed: int = 0) -> Importance:
    """The importance of every head and every neuron.

    Args:
        model: with any head; an encoder's answers are all hidden states of its last layer.
        batches: of features, int32 [batch, seq]; small ones measure better, since each gives one sample.
        seed: of the signs.
    """
    layers = model.transformer_layers
    kernels = [dense.kernel.value for layer in layers for dense in (layer.attention.output_dense, layer.output_dense)]
    signs = tf.random.Generator.from_seed(seed)

    signature = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUT_NAMES}

    @tf.function(input_signature=[signature], autograph=False)
    def gates(features):  # the derivative by the gate of each row of each kernel
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            answers = _answers(model, features)
            chosen = tf.cast(signs.uniform(tf.shape(answers), maxval=2, dtype=tf.int32) * 2 - 1, tf.float32)
            total = tf.reduce_sum(answers * chosen)
        return [tf.reduce_sum(k * g, axis=1) for k, g in zip(kernels, tape.gradient(total, kernels), strict=True)]

    squares: list[np.ndarray] = []
    for features in batches:
        found = [gate.numpy() for gate in gates({name: tf.constant(value) for name, value in features.items()})]
        for number, gate in enumerate(found):
            found[number] = gate if number % 2 else gate.reshape(model.config.num_attention_heads, -1).sum(axis=1)
        squares = [np.square(gate) + (squares[n] if squares else 0) for n, gate in enumerate(found)]
    return Importance(np.sqrt(np.stack(squares[::2])), np.sqrt(np.stack(squares[1::2])))


def choose_layers(model: BertModel, count: int, batches: Iterable[Mapping]) -> tuple[int, ...]:
    """The layers, counted from 1, that a network with `count` of them keeps.

    Layers are left out one after another, each time the one without which the answers change least.
    """
    kept = list(range(1, model.config.num_hidden_layers + 1))
    if count == len(kept):
        return tuple(kept)
    batches = [{name: tf.constant(value) for name, value in features.items()} for features in batches]
    expected = [_answers(model, features) for features in batches]
    while len(kept) > count:
        errors = dict.fromkeys(kept, 0.0)
        for features, whole in zip(batches, expected, strict=True):
            for number in kept:
                found = _answers(model, features, [layer for layer in kept if layer != number])
                errors[number] += float(tf.reduce_sum(tf.square(found - whole)))
        kept.remove(min(kept, key=errors.__getitem__))
    return tuple(kept)


def _answers(model: BertModel, features: Mapping, layers: Sequence[int] | None = None) -> tf.Tensor:
    """As `answers`; with `layers`, of a network of these alone."""
    if layers is None:
        return answers(model, features)
    return clarity(model, _computed(model, features, layers), features["input_mask"])


def _computed(model: BertModel, features: Mapping, layers: Sequence[int]) -> dict[str, tf.Tensor]:
    mask = model.additive_mask(features["input_mask"])
    hidden = model.embeddings(features["input_word_ids"], features["input_type_ids"])
    for number in layers:
        hidden, _ = model.transformer_layers[number - 1](hidden, mask)
    outputs = {"sequence_output": hidden}
    if model.head_layer is not None:
        pooled = model.head in ("classification", "regression")
        outputs["logits"] = model.head_layer(model.text_features(hidden) if pooled else hidden)
    return {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
