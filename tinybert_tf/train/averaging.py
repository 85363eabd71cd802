"""A moving average of a network's weights over the steps of a stage (Polyak and Juditsky 1992)."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel


class AveragedWeights(keras.callbacks.Callback):
    """Averages the weights of a network while it trains.

    Adam's steps are about as large as the learning rate however small the gradient is, so that the weights move around an
    optimum; their average lies nearer to it.

    Args:
        model: the network; a part of the model that is fitted.
        decay: what a step keeps of the average, above 0 and below 1. In step n it is at most (1 + n) / (10 + n), so that the
            weights of the first steps are soon forgotten.
    """

    def __init__(self, model: BertModel, decay: float):
        super().__init__()
        self._decay = decay
        self._weights = [weight.value for weight in model.trainable_weights]
        self._average, self._latest = _copies(self._weights), _copies(self._weights)
        self._steps = tf.Variable(0.0, trainable=False)

    @property
    def state(self) -> Sequence[tf.Variable]:
        """What a resumed training needs beside the network's weights."""
        return [*self._average, self._steps]

    def on_train_batch_end(self, batch, logs=None):
        self._add()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside this context the network has the average of its weights; of those that it began with before the first step."""
        _assign(self._latest, self._weights)
        _assign(self._weights, self._average)
        try:
            yield
        finally:
            _assign(self._weights, self._latest)

    @tf.function(autograph=False)
    def _add(self):
        self._steps.assign_add(1.0)
        kept = tf.minimum(self._decay, (1.0 + self._steps) / (10.0 + self._steps))
        for average, weight in zip(self._average, self._weights, strict=True):
            average.assign_sub((1.0 - kept) * (average - weight))


def _copies(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    return [tf.Variable(variable, trainable=False) for variable in variables]


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Variable]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
