"""Measures of how a student differs from its teacher, as functions of arrays."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import rel_entr
from sklearn.metrics import confusion_matrix


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centered kernel alignment of two representations of the same tokens (Kornblith et al. 2019, section 3).

    1 for representations that are equal up to rotation and scale, 0 for unrelated ones. The widths may differ.

    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> round(linear_cka(x, 3 * x[:, ::-1]), 6)
    1.0

    Args:
        first: `[tokens, width]`.
        second: `[tokens, other width]`, the same tokens.

    Raises:
        ValueError: another number of tokens.
    """
    if len(first) != len(second):
        raise ValueError(f"the same tokens are compared: {len(first)} against {len(second)}")
    first, second = (np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64) for x in (first, second))
    shared = np.sum((first.T @ second) ** 2)
    own = np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)
    return float(shared / own) if own > 0 else 0.0


def cka_matrix(students: Sequence[np.ndarray], teachers: Sequence[np.ndarray]) -> np.ndarray:
    """`linear_cka` of every student layer with every teacher layer: `[student layers, teacher layers]`."""
    return np.array([[linear_cka(student, teacher) for teacher in teachers] for student in students])


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy (Guo et al. 2017).

    Attributes:
        confidence: mean confidence of each bin that has examples, `[bins]`.
        accuracy: share of right answers in it, `[bins]`.
        count: examples in it, `[bins]`.
        error: expected calibration error, from 0 to 1.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Calibration:
    """How far a classifier's confidence is from its accuracy.

    Args:
        probabilities: `[examples, classes]`.
        labels: `[examples]` class indices.
        bins: of equal width between 0 and 1.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(number, minlength=bins)
    used = count > 0

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(number, weights=values, minlength=bins)[used] / count[used]

    confidences, accuracies = mean(confidence), mean(right.astype(float))
    error = float(np.sum(count[used] * np.abs(confidences - accuracies)) / max(1, len(labels)))
    return Calibration(confidences, accuracies, count[used], error)


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How closely a student follows its teacher (Stanton et al. 2021).

    Attributes:
        agreement: share of the examples that both give the same class, from 0 to 1; None for scores.
        distance: mean Kullback-Leibler divergence of the student's probabilities from the teacher's, in nats; of scores the
            mean squared difference.
        count: examples.
    """

    agreement: float | None
    distance: float
    count: int


def fidelity(teacher: np.ndarray, student: np.ndarray) -> Fidelity:
    """Compares two networks' answers to the same examples.

    >>> same = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> fidelity(same, same[:, ::-1]).agreement, fidelity(same, same).distance
    (0.0, 0.0)

    Args:
        teacher: `[examples, classes]` probabilities, or `[examples, 1]` scores.
        student: the same of the student.
    """
    if teacher.shape[1] == 1:
        return Fidelity(None, float(np.mean((teacher - student) ** 2)), len(teacher))
    agreement = float(np.mean(teacher.argmax(axis=1) == student.argmax(axis=1)))
    # A probability below the least float32 is not 0: the divergence would be infinite.
    student = np.maximum(student, np.finfo(np.float32).tiny)
    return Fidelity(agreement, float(np.mean(np.sum(rel_entr(teacher, student), axis=1))), len(teacher))


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a report shows of a teacher and its student on dev examples.

    Attributes:
        tokens: of one example, without padding.
        teacher_attention: probabilities of that example, `[layers, heads, tokens, tokens]`.
        student_attention: the same of the student.
        layer_map: the teacher layer of each student layer, counted from 1.
        cka: `[student layers + 1, teacher layers + 1]`; index 0 is the embedding output. None where it was not measured.
        labels: class names, in the order of the probabilities' columns; empty for scores.
        texts: of the dev examples.
        gold: `[examples]` class indices, or scores.
        teacher: `[examples, classes]` probabilities, or `[examples, 1]` scores.
        student: the same of the student.
        trained: answers of teacher and student to examples of the training set, shaped as those on dev.
    """

    tokens: Sequence[str]
    teacher_attention: np.ndarray
    student_attention: np.ndarray
    layer_map: Sequence[int]
    cka: np.ndarray | None
    labels: Sequence[str]
    texts: Sequence[str]
    gold: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    trained: tuple[np.ndarray, np.ndarray]

    def confusion(self) -> np.ndarray:
        """`[classes, classes]` counts of the student: rows are true labels, columns answers."""
        return confusion_matrix(self.gold, self.student.argmax(axis=1), labels=range(len(self.labels)))

    def disagreements(self, count: int = 12) -> list[int]:
        """Indices of the examples on which student and teacher differ most, the largest difference first."""
        difference = np.abs(self.teacher - self.student).max(axis=1)
        return [int(index) for index in np.argsort(-difference, kind="stable")[:count]]
