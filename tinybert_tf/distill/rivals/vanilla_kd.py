"""Vanilla knowledge distillation: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2; PD; BiLSTM_SOFT.

PD (Turc et al. 2019, "Well-Read Students Learn Better") is `VanillaKD(label_share=0)` on a student that was pre-trained by
masked LM. BiLSTM_SOFT (Tang et al. 2019) matches the logits themselves: `LogitsKD`.
"""

import dataclasses

import keras
import tensorflow as tf

from tinybert_tf.distill.networks import head_of
from tinybert_tf.distill.objectives import Batch, HardLabels, Match, TinyBertObjective, serializable
from tinybert_tf.distill.rivals.checks import check_share, check_temperature


@serializable
@dataclasses.dataclass(frozen=True)
class VanillaKD:
    """(1 - a) t^2 CE(teacher at t, student at t) + a CE(labels, student).

    The factor t^2 keeps the gradient of the soft part in proportion when t changes (section 2 of the paper).

    >>> VanillaKD(temperature=4.0, label_share=0.1).temperature
    4.0

    Attributes:
        temperature: t.
        label_share: a, from 0 to 1.
    """

    temperature: float = 2.0
    label_share: float = 0.5

    def __post_init__(self):
        check_temperature(self.temperature)
        check_share("label_share", self.label_share)

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks."""
        squared = 1.0 if head_of(student) == "regression" else self.temperature**2
        soft = TinyBertObjective.prediction(temperature=self.temperature).matches(student, teacher)
        soft = [dataclasses.replace(row, weight=(1 - self.label_share) * squared) for row in soft]
        return [*soft, *HardLabels(self.label_share).matches(student, teacher)]


@serializable
@dataclasses.dataclass(frozen=True)
class LogitsKD:
    """(1 - a) ||z_T - z_S||^2 + a CE(labels, student): Tang et al. 2019, equations 1 and 2.

    >>> LogitsKD().label_share
    0.0

    Attributes:
        label_share: a, from 0 to 1; the paper takes 0.
    """

    label_share: float = 0.0

    def __post_init__(self):
        check_share("label_share", self.label_share)

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks."""
        # Logits of a text, of its words, or of all its tokens.
        over = {"token_classification": "words", "span": "tokens", "masked_lm": "tokens"}.get(head_of(student), "rows")
        return [
            Match("logits_loss", _squared, "logits", "logits", 1 - self.label_share, over),
            *HardLabels(self.label_share).matches(student, teacher),
        ]


def _squared(student, teacher, batch: Batch):
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    return tf.reduce_sum(tf.math.squared_difference(student, teacher), axis=-1)
