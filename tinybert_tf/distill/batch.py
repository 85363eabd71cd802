"""A training batch as losses receive it."""

import dataclasses
from typing import Any

import tensorflow as tf

from tinybert_tf.distill import losses
from tinybert_tf.distill.networks import token_mask
from tinybert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch as Keras gives it to a training step.

    Attributes:
        features: what the networks read; a dict of tensors [B, S] for a `BertModel`.
        labels: int [B], [B, S] or [B, 2], float [B], or None.
        weight: float [B] of the examples, or [B, S] of the positions, or None.
    """

    features: Any
    labels: tf.Tensor | None = None
    weight: tf.Tensor | None = None

    @property
    def mask(self) -> tf.Tensor | None:
        """int [B, S], 1 = token; None where the features have no mask."""
        return token_mask(self.features)

    @property
    def rows(self):
        """B."""
        return tf.shape(tf.nest.flatten(self.features)[0])[0]

    def weights(self, over: str) -> tf.Tensor:
        """The weights of the mean that a loss is.

        Args:
            over: "rows": [B], one for each example; "tokens": [B, S], those of each example's tokens; "pairs": [B, S, S],
                pairs of tokens; "words": [B, S], the weights of the positions themselves, where `weight` is [B, S].
        """
        if over == "rows":
            return losses.row_weights(self.weight, self.rows)
        if over == "words" and self.mask is None and self.weight is not None and len(self.weight.shape) == 2:
            return tf.cast(self.weight, tf.float32)  # they leave out what is no word
        if self.mask is None:
            raise InputError(f"a loss over {over} needs the feature input_mask")
        if over == "words" and self.weight is not None:
            mask, weight = tf.cast(self.mask, tf.float32), tf.cast(self.weight, tf.float32)
            return mask * tf.reshape(weight, [tf.shape(weight)[0], -1])  # [B, 1] or [B, S]
        return (losses.pair_weights if over == "pairs" else losses.token_weights)(self.mask, self.weight)

    def in_parts(self, count: int) -> tuple:
        """(features, labels, weight) [B, ...] as [count, B / count, ...]; rows of weight 0 are appended if B is not a
        multiple of `count`.
        """
        features, labels, weight = self.features, self.labels, self.weight
        static = tf.nest.flatten(features)[0].shape[0]
        fits = static is not None and static % count == 0
        if weight is None and not fits:
            weight = tf.ones([self.rows])

        def split(tensor):
            if tensor is None:
                return None
            tensor = tf.convert_to_tensor(tensor)
            if not fits:
                missing = -self.rows % count
                tensor = tf.pad(tensor, [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1))
            sizes = tf.unstack(tf.shape(tensor))[1:]
            known = [
                size if size is not None else dynamic for size, dynamic in zip(tensor.shape[1:], sizes, strict=True)
            ]
            return tf.reshape(tensor, [count, static // count if fits else -1, *known])

        return tf.nest.map_structure(split, (features, labels, weight))
