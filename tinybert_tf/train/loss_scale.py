"""Scale-free intermediate losses: each term divided by the variance of its target, measured before training."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from tinybert_tf.bert import BertModel
from tinybert_tf.distill import layer_map

# Batches that variances are measured on: some thousands of tokens.
_BATCHES = 8
_SMALLEST = 1e-6  # a lower bound of the variance, for targets that hardly vary


def relative_weights(
    teacher: BertModel, student_layers: int, layers: str | Sequence[int], batches: Iterable[Mapping]
) -> dict[str, float | list[float]]:
    """Weights of the terms of equation 11: 1 over the variance of the target.

    A student that predicts the mean of a target then has a loss of 1 in every term and layer, so that large attention logits
    do not outweigh small hidden states.

    Args:
        teacher: the network that the targets are read of.
        student_layers: layers of the student.
        layers: the layer map.
        batches: of features, int32 [B, S]; the first few are used.

    Returns:
        `attention_weight`, `hidden_weight` (one for each student layer) and `embedding_weight` of a `TinyBertObjective`.
    """
    mapped = layer_map(layers, student_layers, teacher.config.num_hidden_layers)
    states = [teacher.output["hidden_states"][index] for index in (0, *mapped)]
    logits = [teacher.output["attention_logits"][index - 1] for index in mapped]
    read = keras.Model(teacher.input, states + logits)
    moments = [_Moments() for _ in states + logits]
    for features in itertools.islice(batches, _BATCHES):
        mask = np.asarray(features["input_mask"], bool)
        pairs = mask[:, :, None] & mask[:, None, :]
        for number, (target, moment) in enumerate(zip(read(features, training=False), moments, strict=True)):
            values = np.asarray(keras.ops.cast(target, "float32"))
            # [tokens, D] of hidden states, [pairs of tokens, H] of attention logits
            moment.add(values[mask] if number < len(states) else np.moveaxis(values, 1, -1)[pairs])
    weights = [1.0 / max(_SMALLEST, moment.variance) for moment in moments]
    return {
        "attention_weight": weights[len(states) :],
        "hidden_weight": weights[1 : len(states)],
        "embedding_weight": weights[0],
    }


class _Moments:
    """Running count, sum and sum of squares of vectors."""

    count, total, squares = 0, 0.0, 0.0

    def add(self, vectors: np.ndarray) -> None:
        vectors = vectors.astype(np.float64)
        self.count += len(vectors)
        self.total = self.total + vectors.sum(axis=0)
        self.squares = self.squares + (vectors**2).sum(axis=0)

    @property
    def variance(self) -> float:
        """The mean over the dimensions of the variance over the vectors."""
        return float(np.mean(self.squares / self.count - (self.total / self.count) ** 2))
