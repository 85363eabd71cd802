"""MobileBERT's knowledge transfer: Sun et al. 2020, "MobileBERT: a Compact Task-Agnostic BERT", section 3.4 and appendix."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from tinybert_tf.distill import losses
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.distill.objectives import Batch, Match, serializable
from tinybert_tf.distill.rivals.checks import check_berts
from tinybert_tf.distill.rivals.relations import attention_values
from tinybert_tf.errors import InputError


@serializable
@dataclasses.dataclass(frozen=True)
class MobileBert:
    """Feature maps, their mean and variance, and attention distributions, layer by layer (equations 2 and 3).

    MobileBERT has its teacher's depth and width; here the layers are mapped, and narrower states pass a learned projection.

    >>> MobileBert().statistics_weight
    0.1

    Attributes:
        layers: see `layer_map`.
        feature_weight: of the squared error of the feature maps (the layers' outputs).
        statistics_weight: of the squared differences of a token's mean and variance over the width.
        attention_weight: of KL(teacher's attention || student's).
    """

    layers: str | Sequence[int] = "uniform"
    feature_weight: float = 1.0
    statistics_weight: float = 0.1
    attention_weight: float = 1.0

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: a network that is no BERT, or other numbers of attention heads.
        """
        check_berts("MobileBERT's transfer", student, teacher)
        heads = student.config.num_attention_heads, teacher.config.num_attention_heads
        if self.attention_weight and heads[0] != heads[1]:
            raise InputError(
                f"the student has {heads[0]} attention heads and the teacher {heads[1]}: attention is transferred head by "
                f"head; build the student with `num_attention_heads={heads[1]}` or take `attention_weight=0`"
            )
        project = student.config.hidden_size != teacher.config.hidden_size
        rows = []
        for m, n in enumerate(
            layer_map(self.layers, student.config.num_hidden_layers, teacher.config.num_hidden_layers), 1
        ):
            states = f"hidden_states/{m}", f"hidden_states/{n}"
            logits = f"attention_logits/{m - 1}", f"attention_logits/{n - 1}"
            rows += [
                Match("feature_loss", _features, *states, self.feature_weight, "tokens", project),
                Match("statistics_loss", _statistics, *states, self.statistics_weight, "tokens", project),
                Match("attention_loss", attention_values, *logits, self.attention_weight, "tokens"),
            ]
        return rows


def _features(student, teacher, batch: Batch):
    return losses.hidden_values(student, teacher)


def _statistics(student, teacher, batch: Batch):
    """[B, S, D] -> [B, S]: squared differences of mean and variance."""
    first, second = (tf.nn.moments(tf.cast(x, tf.float32), axes=[-1]) for x in (student, teacher))
    return tf.add_n([tf.math.squared_difference(one, other) for one, other in zip(first, second, strict=True)])
