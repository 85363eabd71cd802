"""Measures of how a student differs from its teacher, and their place in the page."""

import doctest
import json
import re

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.calibration import calibration_curve

from tinybert_tf.report import diagnosis
from tinybert_tf.report.diagnosis import Diagnosis, calibration, cka_matrix, fidelity, linear_cka
from tinybert_tf.report.page import write_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def hsic(a, b):
    """The textbook form of CKA's numerator: tr(K H L H)."""
    n = len(a)
    center = np.eye(n) - 1 / n
    return np.trace((a @ a.T) @ center @ (b @ b.T) @ center)


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(diagnosis).failed == 0


def test_linear_cka_is_the_normalized_hsic(rng):
    a, b = rng.normal(size=(30, 5)), rng.normal(size=(30, 8))
    assert linear_cka(a, b) == pytest.approx(hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b)))


def test_linear_cka_does_not_see_rotation_and_scale(rng):
    a = rng.normal(size=(40, 6))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    assert linear_cka(a, -2.5 * a @ rotation + 1) == pytest.approx(1.0)
    assert cka_matrix([a, a], [a]).shape == (2, 1)
    with pytest.raises(ValueError, match="40 against 39"):
        linear_cka(a, a[1:])


def test_calibration_agrees_with_scikit_learn(rng):
    positive = rng.uniform(0.5, 1.0, size=400)
    right = rng.uniform(size=400) < positive**2
    found = calibration(np.stack([positive, 1 - positive], axis=1), np.where(right, 0, 1))
    accuracy, confidence = calibration_curve(right, positive, n_bins=10)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, confidence)
    assert found.error == pytest.approx(np.sum(found.count * np.abs(accuracy - confidence)) / 400)


def test_fidelity_is_the_mean_divergence_and_the_share_of_equal_classes(rng):
    teacher, student = rng.dirichlet(np.ones(3), size=50), rng.dirichlet(np.ones(3), size=50)
    found = fidelity(teacher, student)
    assert found.distance == pytest.approx(np.mean([entropy(p, q) for p, q in zip(teacher, student, strict=True)]))
    assert found.agreement == np.mean([np.argmax(p) == np.argmax(q) for p, q in zip(teacher, student, strict=True)])
    sure = fidelity(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])).distance
    assert 40 < sure < 50, "a rounded 0 is a small probability"
    assert fidelity(teacher[:, :1], teacher[:, :1] + 0.5).distance == pytest.approx(0.25)


def make(labels=("no", "yes"), text="fine"):
    attention = np.full((2, 3, 2, 2), 0.5)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    answers = probabilities if labels else probabilities[:, :1]
    return Diagnosis(
        tokens=["[CLS]", text],
        teacher_attention=attention,
        student_attention=attention[:1],
        layer_map=[2],
        cka=np.array([[1.0, 0.2]]),
        labels=labels,
        texts=[text, "b", "c"],
        gold=np.array([0, 1, 1]),
        teacher=answers,
        student=answers[:, ::-1] if labels else 1 - answers,
        trained=(answers[:2], answers[:2]),
    )


def test_confusion_counts_and_largest_differences_come_first():
    each = make()
    assert each.confusion().tolist() == [[0, 1], [1, 1]]
    assert each.disagreements(2) == [0, 1]


def test_the_page_shows_every_section_and_runs_nothing_that_it_quotes(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    files = write_report(tmp_path, "Run", [], {}, [], {}, make(text=evil))
    text = files.html.read_text()
    for heading in (
        "follows the teacher",
        "Attention, teacher beside student",
        "linear CKA",
        "Confusion",
        "Calibration",
        "differ most",
    ):
        assert heading in text
    assert "<script>alert" not in text and "<img src=x" not in text
    table = re.findall(r"<tr><td>(?:training set|dev)</td>.*</tr>", text)
    assert [re.findall(r'"number">(.*?)<', row) for row in table] == [["2", "0.000", "100.0%"], ["3", "0.890", "0.0%"]]
    data = json.loads(re.search(r'id="attention-data">(.*?)</script>', text)[1])
    assert data["tokens"] == ["[CLS]", evil] and data["map"] == [2]
    assert not re.search(r'(src|href)="(?!data:)', text), "no external request"


def test_scores_have_no_classes_to_confuse(tmp_path):
    text = write_report(tmp_path, "Run", [], {}, [], {}, make(labels=())).html.read_text()
    assert "differ most" in text and "Confusion" not in text and "same answer" not in text
    assert re.findall(r'<tr><td>dev</td>.*"number">3<.*"number">(.*?)<', text) == ["0.347"]


def test_score_against_size_is_drawn_where_two_points_are_known(tmp_path):
    row = {"model": "a<b", "score": 0.9, "float_mb": 40.0, "int8_mb": 10.0}
    text = write_report(tmp_path, "Run", [row], {}, [], {}).html.read_text()
    assert "Score against MB" in text and "a&lt;b int8 10" in text and "Score against ms" not in text
