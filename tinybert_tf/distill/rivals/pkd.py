"""BERT-PKD: Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression", section 3."""

import dataclasses

import keras
import tensorflow as tf

from tinybert_tf.distill.objectives import Batch, Match, serializable
from tinybert_tf.distill.rivals.checks import check_berts
from tinybert_tf.distill.rivals.vanilla_kd import VanillaKD
from tinybert_tf.errors import InputError

STRATEGIES = ("skip", "last")


@serializable
@dataclasses.dataclass(frozen=True)
class PatientKD:
    """(1 - a) soft labels + a hard labels + b ||h_S / |h_S| - h_T / |h_T|||^2 of the [CLS] states (equations 5 to 7).

    The student's last layer is left to the soft labels: M - 1 layers are matched. Equation 6 sums over layers and dimensions; the
    published code, to which the published b belong (10 to 1000), takes the mean over both, and so does this class. Where
    the student is narrower its states pass a learned projection, which the paper does not need.

    >>> PatientKD(strategy="last").teacher_layers(6, 12)
    (7, 8, 9, 10, 11)
    >>> PatientKD(strategy="skip").teacher_layers(6, 12)
    (2, 4, 6, 8, 10)

    Attributes:
        strategy: "skip" takes every N / M-th teacher layer, "last" the last ones.
        patience: b.
        temperature: of the soft labels.
        label_share: a, from 0 to 1.
    """

    strategy: str = "skip"
    patience: float = 100.0
    temperature: float = 10.0
    label_share: float = 0.5

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise InputError(f"must be {' or '.join(STRATEGIES)}", "strategy", repr(self.strategy))
        if self.patience < 0:
            raise InputError("must be at least 0", "patience", self.patience)
        VanillaKD(self.temperature, self.label_share)  # checks both

    def teacher_layers(self, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
        """The teacher layer of each student layer but the last, counted from 1."""
        if self.strategy == "last":
            return tuple(range(teacher_layers - student_layers + 1, teacher_layers))
        return tuple(m * teacher_layers // student_layers for m in range(1, student_layers))

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: a network that is no BERT, or more student than teacher layers.
        """
        check_berts("BERT-PKD", student, teacher)
        depths = student.config.num_hidden_layers, teacher.config.num_hidden_layers
        if depths[0] > depths[1]:
            raise InputError(
                f"the student has {depths[0]} layers, the teacher only {depths[1]}; take a shallower student"
            )
        project = student.config.hidden_size != teacher.config.hidden_size
        layers = self.teacher_layers(*depths)
        weight = self.patience / max(1, len(layers))
        return [
            *VanillaKD(self.temperature, self.label_share).matches(student, teacher),
            *(
                Match("patient_loss", _patient, f"hidden_states/{m}", f"hidden_states/{n}", weight, project=project)
                for m, n in enumerate(layers, 1)
            ),
        ]


def _patient(student, teacher, batch: Batch):
    """[B, S, D] -> [B]: squared differences of the normalized first tokens, the mean over D."""
    student, teacher = (tf.math.l2_normalize(tf.cast(x[:, 0], tf.float32), axis=-1) for x in (student, teacher))
    return tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=-1)
