"""DistilBERT: Sanh et al. 2019, "DistilBERT, a distilled version of BERT", section 3."""

import dataclasses

import keras
import tensorflow as tf

from tinybert_tf.distill.objectives import Batch, Match, serializable
from tinybert_tf.distill.rivals.checks import check_berts, check_temperature
from tinybert_tf.distill.rivals.vanilla_kd import VanillaKD


@serializable
@dataclasses.dataclass(frozen=True)
class DistilBert:
    """Soft cross-entropy, cross-entropy of the labels (masked words in pre-training), cosine of the last hidden states.

    The paper's student has the teacher's width and starts from every second of its layers (init "layer_copy"). A narrower one
    passes a learned projection.

    >>> DistilBert().soft_weight
    5.0

    Attributes:
        temperature: of the soft part, 2 in the paper's code.
        soft_weight: 5 in the paper's code.
        label_weight: 2 in the paper's code.
        cosine_weight: 1 in the paper's code.
    """

    temperature: float = 2.0
    soft_weight: float = 5.0
    label_weight: float = 2.0
    cosine_weight: float = 1.0

    def __post_init__(self):
        check_temperature(self.temperature)

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: a network that is no BERT.
        """
        check_berts("DistilBERT", student, teacher)
        soft, hard = VanillaKD(self.temperature, 0.5).matches(student, teacher)
        project = student.config.hidden_size != teacher.config.hidden_size
        return [
            dataclasses.replace(soft, weight=2 * soft.weight * self.soft_weight),
            dataclasses.replace(hard, weight=self.label_weight),
            Match("cosine_loss", _cosine, "sequence_output", "sequence_output", self.cosine_weight, "tokens", project),
        ]


def _cosine(student, teacher, batch: Batch):
    """[B, S, D] -> [B, S]: one minus the cosine."""
    student, teacher = (tf.math.l2_normalize(tf.cast(x, tf.float32), axis=-1) for x in (student, teacher))
    return 1.0 - tf.reduce_sum(student * teacher, axis=-1)
