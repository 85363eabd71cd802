"""Scores of single answers, as scikit-learn and SciPy compute them."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
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
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """Scores of one data set, in the order of `names`.

    A side without variation has no correlation: `matthews`, `pearson` and `spearman` are then 0.0, never NaN, so that a
    student that answers the same to everything scores as what it is and the result stays valid JSON.

    Args:
        names: keys of `METRICS`.
        predictions: `[examples]`, class ids or, for the correlations, real scores.
        labels: `[examples]`, the true ones.
        weights: `[examples]`; rows of weight 0 (the padding of a last batch) are left out. None keeps every row.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; there are {list(METRICS)}")
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    kept = np.ones(labels.shape, bool) if weights is None else np.asarray(weights) != 0
    if predictions.ndim != 1 or not predictions.shape == labels.shape == kept.shape:
        raise ValueError(
            f"predictions {predictions.shape}, labels {labels.shape} and weights {kept.shape} must be one-dimensional "
            "and equally long; take the argmax of logits first"
        )
    predictions, labels = predictions[kept], labels[kept]
    if not len(labels):
        raise ValueError(f"no example to score: {kept.size} rows, all of them padding")
    if not np.all(np.isfinite(predictions)):
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(predictions))} of {len(predictions)} predictions are not finite: "
            "the training diverged; lower the learning rate"
        )
    return {name: METRICS[name](predictions, labels) for name in names}


def _correlation(function: Callable, predictions: np.ndarray, labels: np.ndarray) -> float:
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    with warnings.catch_warnings():
        # A student at the start of its training is nearly constant, and SciPy warns that the result is imprecise.
        warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
        return float(np.nan_to_num(function(predictions.astype(np.float64), labels.astype(np.float64)).statistic))
