"""GLUE's scores, by hand where a hand suffices."""

import numpy as np
import pytest

from tinybert_tf.evaluate.metrics import METRICS, compute_metrics

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0])
PREDICTIONS = np.array(
    [1, 1, 0, 1, 0, 0, 0, 0]
)  # 2 true positives, 1 false positive, 1 false negative, 4 true negatives


def test_scores_by_hand():
    scores = compute_metrics(["accuracy", "f1", "matthews"], PREDICTIONS, LABELS)
    assert scores == pytest.approx({"accuracy": 6 / 8, "f1": 2 / 3, "matthews": (2 * 4 - 1) / 15})
    assert list(scores) == ["accuracy", "f1", "matthews"]


def test_f1_counts_class_one_whatever_the_other_classes_are():
    assert METRICS["f1"](np.array([1, 2, 0]), np.array([1, 0, 2])) == 1.0
    assert METRICS["f1"](np.array([0, 0]), np.array([0, 0])) == 0.0


def test_correlations_by_hand():
    scores = compute_metrics(["pearson", "spearman"], np.array([1.0, 2.0, 3.0, 40.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert scores["spearman"] == pytest.approx(1.0)
    assert scores["pearson"] == pytest.approx(59 / np.sqrt(5 * 1085))
    reverse = compute_metrics(["pearson", "spearman"], np.array([3, 2, 1]), np.array([1.0, 2.0, 3.0]))
    assert reverse == pytest.approx({"pearson": -1.0, "spearman": -1.0})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman"])
@pytest.mark.parametrize("constant", [0, 1])
def test_a_constant_prediction_correlates_with_nothing(name, constant):
    assert compute_metrics([name], np.full(8, constant), LABELS) == {name: 0.0}
    assert compute_metrics([name], LABELS, np.full(8, constant)) == {name: 0.0}


@pytest.mark.filterwarnings("error")
def test_a_nearly_constant_prediction_scores_without_a_warning():
    almost = 1.0 + np.arange(8) * 1e-15
    assert np.isfinite(compute_metrics(["pearson"], almost, LABELS)["pearson"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["bleu"], PREDICTIONS, LABELS), r"unknown metrics \['bleu'\].*accuracy"),
        ((["accuracy"], PREDICTIONS[:3], LABELS), r"\(3,\).*\(8,\)"),
        ((["accuracy"], np.zeros((8, 2)), LABELS), "argmax"),
        ((["accuracy"], PREDICTIONS[:0], LABELS[:0]), "no example"),
        ((["pearson"], np.full(8, np.nan), LABELS), "8 of 8 predictions are not finite.*learning rate"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(*arguments)
