"""A layer map that is learned: weights over the teacher's layers for each student layer, annealed until one is left.

The intermediate losses of student layer m are sum_n w[m, n] L(m, n) with w[m] = softmax(theta[m] / t), where t falls during
training. Each L is divided by the variance of its target, as in `--loss_scale=relative`: otherwise the layer whose states vary
least would win. At the end the map is the list of the heaviest layers.
"""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.distill import losses
from tinybert_tf.distill.batch import Batch
from tinybert_tf.distill.objectives import Match, TinyBertObjective
from tinybert_tf.distill.rivals.checks import check_berts
from tinybert_tf.distribution import all_reduce_sum
from tinybert_tf.errors import InputError

# Temperatures of the softmax at the first and at the last step.
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.05
# How far a weight's logit can move in a stage: Adam moves it by about the learning rate in each step.
_REACH = 10.0
_SMALLEST = 1e-6  # of a variance


@keras.saving.register_keras_serializable(package="tinybert_tf")
class LayerWeights(keras.layers.Layer):
    """theta: how much each student layer learns from each teacher layer.

    >>> weights = LayerWeights(2, 4)
    >>> [round(float(weight), 2) for weight in weights.of(0)]
    [0.25, 0.25, 0.25, 0.25]

    Args:
        student_layers: M.
        teacher_layers: N.
        start: for each student layer the teacher layer, counted from 1, that begins with half of the weight; without it all
            begin with the same.
    """

    def __init__(
        self,
        student_layers: int,
        teacher_layers: int,
        start: Sequence[int] | None = None,
        name: str = "layer_weights",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.student_layers, self.teacher_layers, self.start = student_layers, teacher_layers, start
        shape = (student_layers, teacher_layers)
        self.theta = self.add_weight(shape=shape, initializer="zeros", dtype="float32", name="theta")
        fixed = {"shape": (), "initializer": "ones", "trainable": False, "dtype": "float32"}
        self.temperature = self.add_weight(**fixed, name="temperature")
        self.reach = self.add_weight(**fixed, name="reach")
        if start is not None and teacher_layers > 1:
            self.theta.assign(math.log(teacher_layers - 1) * np.eye(teacher_layers)[np.array(start) - 1])
        self.built = True

    def set_reach(self, learning_rate: float, steps: int) -> None:
        """Scales theta so that it can change the map within a stage of `steps`; the current weights are kept."""
        reach = _REACH / (learning_rate * steps)
        self.theta.assign(self.theta * self.reach / reach)
        self.reach.assign(reach)

    def anneal(self, share: float) -> None:
        """Sets the temperature for the share of the stage that is done."""
        self.temperature.assign(FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** min(1.0, share))

    def of(self, layer: int) -> tf.Tensor:
        """The weights of the teacher's layers for a student layer, counted from 0: float32 [N]."""
        theta = self.theta[layer]
        logits = theta * self.reach / self.temperature
        # theta has the gradient of the logits: `reach` is for Adam's steps, and would drown the others in the clipped norm.
        return tf.nn.softmax(theta + tf.stop_gradient(logits - theta))

    def layers(self) -> list[int]:
        """The heaviest teacher layer of each student layer, counted from 1."""
        return (keras.ops.convert_to_numpy(self.theta).argmax(axis=-1) + 1).tolist()

    def get_config(self):
        own = {"student_layers": self.student_layers, "teacher_layers": self.teacher_layers, "start": self.start}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="tinybert_tf")
class WeightedTerm(keras.layers.Layer):
    """A term of one student layer: the weighted sum over the teacher's layers.

    Args:
        weights: shared by all terms.
        layer: of the student, counted from 0.
        kind: "attention" or "hidden".
        padding: of the attention loss, as in `TinyBertObjective`.
    """

    def __init__(self, weights: LayerWeights, layer: int, kind: str, padding: str, name: str | None = None, **kwargs):
        super().__init__(name=name or f"{kind}_{layer}", **kwargs)
        self.layer_weights, self.layer, self.kind, self.padding = weights, layer, kind, padding
        self.built = True

    def call(self, student, teacher, batch: Batch):
        """Values [B, S] or [B, S, S], as the loss of one teacher layer gives them."""
        weights = self.layer_weights.of(self.layer)
        over = batch.weights("pairs" if self.kind == "attention" else "tokens")
        total = 0.0
        for number, target in enumerate(teacher):
            if self.kind == "attention":
                values = losses.attention_values(student, target, self.padding)
            else:
                values = losses.hidden_values(student, target)
            total += weights[number] * values / tf.maximum(self._variance(target, over), _SMALLEST)
        return total

    def _variance(self, target, over) -> tf.Tensor:
        """The mean over dimensions (heads) of the variance over what counts in the batch of all replicas.

        Parts of a batch (`accumulation_steps`) have variances of their own.
        """
        target = tf.cast(target, tf.float32)
        if self.kind == "attention":  # [B, H, S, S] -> [B, S, S, H]
            target = tf.transpose(target, [0, 2, 3, 1])
        share = (over / tf.maximum(all_reduce_sum(tf.reduce_sum(over)), 1.0))[..., None]
        axes = list(range(len(target.shape) - 1))
        mean = all_reduce_sum(tf.reduce_sum(target * share, axis=axes))
        centered = tf.where(share > 0, target - mean, 0.0)
        return tf.reduce_mean(all_reduce_sum(tf.reduce_sum(tf.square(centered) * share, axis=axes)))

    def get_config(self):
        own = {"layer": self.layer, "kind": self.kind, "padding": self.padding}
        return super().get_config() | own | {"weights": keras.saving.serialize_keras_object(self.layer_weights)}

    @classmethod
    def from_config(cls, config):
        weights = keras.saving.deserialize_keras_object(config["weights"])
        return cls(**(config | {"weights": weights}))


@dataclasses.dataclass(frozen=True)
class LearnedMapObjective:
    """TinyBERT's intermediate losses with a learned layer map.

    Attributes:
        weights: one row for each student layer, one column for each teacher layer.
        attention_weight: as in `TinyBertObjective`, of the losses that are divided by the variance of their targets.
        hidden_weight: of the hidden states' losses, which are divided in the same way.
        embedding_weight: of the embedding loss, which is not divided.
        padding: as in `TinyBertObjective`; "exclude" only.
    """

    weights: LayerWeights
    attention_weight: float = 1.0
    hidden_weight: float = 1.0
    embedding_weight: float = 1.0
    padding: str = "exclude"

    @classmethod
    def of(
        cls, student: BertModel, teacher: BertModel, start: Sequence[int] | None = None, **settings
    ) -> "LearnedMapObjective":
        """With a new map for two networks.

        Args:
            student: the network that learns.
            teacher: its teacher.
            start: see `LayerWeights`. A student that was made from some of its teacher's layers needs it: the mean over all
                layers takes away what it has.
            settings: see the class.

        Raises:
            InputError: a network that is no BERT.
        """
        check_berts("a learned layer map", student, teacher)
        depths = (student.config.num_hidden_layers, teacher.config.num_hidden_layers)
        return cls(LayerWeights(*depths, start), **settings)

    def matches(self, student: keras.Model, teacher: keras.Model) -> Sequence[Match]:
        """The table of two networks.

        Raises:
            InputError: networks that TinyBERT's losses cannot match, or no weight for either of the two kinds of layer losses.
        """
        if not (self.attention_weight or self.hidden_weight):
            raise InputError("a learned layer map needs an `attention_weight` or a `hidden_weight` above 0")
        # The checks, and the embedding's row.
        plain = TinyBertObjective(
            [1] * student.config.num_hidden_layers, self.attention_weight, self.hidden_weight, self.embedding_weight
        ).matches(student, teacher)
        count = teacher.config.num_hidden_layers
        rows = []
        for layer in range(student.config.num_hidden_layers):
            attention = tuple(f"attention_logits/{number}" for number in range(count))
            hidden = tuple(f"hidden_states/{number}" for number in range(1, count + 1))
            term = [WeightedTerm(self.weights, layer, kind, self.padding) for kind in ("attention", "hidden")]
            rows += [
                Match(
                    "attention_loss", term[0], f"attention_logits/{layer}", attention, self.attention_weight, "pairs"
                ),
                Match("hidden_loss", term[1], f"hidden_states/{layer + 1}", hidden, self.hidden_weight, "tokens", True),
            ]
        return [*rows, plain[-1]]


class Annealing(keras.callbacks.Callback):
    """Lowers the temperature of a learned map from step to step.

    Args:
        weights: of the map.
        steps: of the stage.
    """

    def __init__(self, weights: LayerWeights, steps: int):
        super().__init__()
        self.weights, self.steps = weights, steps

    def on_train_batch_begin(self, batch, logs=None):
        self.weights.anneal(int(self.model.optimizer.iterations) / self.steps)
