"""Metrics, as scikit-learn, SciPy and seqeval compute them."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
import seqeval.metrics
import sklearn.metrics


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(sklearn.metrics.accuracy_score(labels, predictions))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1 ("equivalent" in MRPC and QQP); 0.0 if that class is neither predicted nor present."""
    return float(sklearn.metrics.f1_score(labels == 1, predictions == 1, zero_division=0.0))


def macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the F1 of every class that is predicted or present."""
    return float(sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0.0))


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation; 0.0 if one side holds a single class."""
    return float(sklearn.metrics.matthews_corrcoef(labels, predictions))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _correlation(scipy.stats.pearsonr, predictions, labels)


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    return _correlation(scipy.stats.spearmanr, predictions, labels)


def retention(score: float, teacher_score: float | None) -> float | None:
    """The share of its teacher's score that a student keeps; None without a teacher whose score is above 0."""
    return score / teacher_score if teacher_score is not None and teacher_score > 0 else None


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def compute_metrics(
    names: Sequence[str],
    predictions: np.ndarray,
    labels: np.ndarray,
) -> dict[str, float]:
    """Scores of one data set, in the order of `names`.

    A side without variation has no correlation: `matthews`, `pearson` and `spearman` are then 0.0, never NaN, so that a
    constant student gets a low score and the result stays valid JSON.

    Args:
        names: keys of `METRICS`.
        predictions: `[examples]`, class ids or, for the correlations, real scores.
        labels: `[examples]`, the true ones.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; there are {list(METRICS)}")
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape:
        raise ValueError(
            f"predictions {predictions.shape} and labels {labels.shape} must be one-dimensional and equally long; take the "
            "argmax of logits first"
        )
    if not len(labels):
        raise ValueError("no example to score")
    if not np.all(np.isfinite(predictions)):
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(predictions))} of {len(predictions)} predictions are not finite: "
            "the training diverged; lower the learning rate"
        )
    return {name: METRICS[name](predictions, labels) for name in names}


def entity_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """`f1`, `precision` and `recall` of entities over all sentences, and `accuracy` of the single tags.

    An entity is right if its kind and both of its ends are (conlleval's rule, Tjong Kim Sang and De Meulder, CoNLL 2003); IOB1,
    IOB2, IOBES, BILOU and BMES are understood. A tag without such a prefix is an entity's kind itself. A score without
    anything to count is 0.

    >>> entity_scores([["B-PER", "O", "O"]], [["B-PER", "O", "B-LOC"]])["precision"]
    1.0

    Args:
        predicted: a tag for each word of each sentence.
        true: the same.
    """
    found, wanted = ([[_prefixed(tag) for tag in tags] for tags in rows] for rows in (predicted, true))
    words = [pair for rows in zip(predicted, true, strict=True) for pair in zip(*rows, strict=True)]
    scores = {
        name: float(score(wanted, found, zero_division=0))
        for name, score in (
            ("f1", seqeval.metrics.f1_score),
            ("precision", seqeval.metrics.precision_score),
            ("recall", seqeval.metrics.recall_score),
        )
    }
    return scores | {"accuracy": sum(one == other for one, other in words) / max(1, len(words))}


# Prefixes of BILOU and BMES in IOBES.
_SAME_PREFIXES = {"L": "E", "U": "S", "M": "I"}


def _prefixed(tag: str) -> str:
    prefix, dash, kind = tag.partition("-")
    if tag == "O" or (dash and prefix in ("B", "I", "E", "S")):
        return tag
    return f"{_SAME_PREFIXES[prefix]}-{kind}" if dash and prefix in _SAME_PREFIXES else f"I-{tag}"


def _correlation(function: Callable, predictions: np.ndarray, labels: np.ndarray) -> float:
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    with warnings.catch_warnings():
        # A student at the start of its training is nearly constant, and SciPy warns that the result is imprecise.
        warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
        return float(np.nan_to_num(function(predictions.astype(np.float64), labels.astype(np.float64)).statistic))
