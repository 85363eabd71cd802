"""Distilling a network that tags words: weights stand at positions, not at rows."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from tinybert_tf.distill import Distiller, TinyBertObjective, losses
from tinybert_tf.distill.objectives import Batch

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def tagged(batch):
    """Features, tags [4, 8] and weights: 1 at every other token of the first three rows, and nowhere in the last."""
    features, _, _ = batch()
    weight = (features["input_mask"] * (np.arange(8) % 2)).astype(np.float32)
    weight[-1] = 0
    return features, np.random.default_rng(1).integers(0, 3, (4, 8)).astype(np.int32), weight


def test_the_prediction_loss_is_the_mean_over_the_weighted_positions(network, tagged):
    teacher, student = network(head="token_classification"), network(head="token_classification")
    distiller = Distiller(teacher, student, TinyBertObjective.prediction(temperature=2.0))
    distiller.compile("adam")
    ours, theirs = (model.predict(tagged[0], verbose=0)["logits"] / 2 for model in (student, teacher))
    each = -(softmax(theirs, -1) * log_softmax(ours, -1)).sum(-1)
    found = distiller.evaluate(*tagged[:2], sample_weight=tagged[2], batch_size=4, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(np.average(each, weights=tagged[2]), abs=1e-5)


def test_rows_alone_can_be_weighted_and_padding_never_counts(network, tagged):
    student = network(head="token_classification")
    objective = TinyBertObjective.prediction()
    logits = np.random.default_rng(0).normal(size=(2, 4, 8, 3)).astype(np.float32)
    mask, rows = tagged[0]["input_mask"], np.array([1, 1, 0, 1], np.float32)
    each = -(softmax(logits[1], -1) * log_softmax(logits[0], -1)).sum(-1)
    for weight, counted in ((None, mask), (rows, mask * rows[:, None])):
        (match,) = objective.matches(student, student)
        found = Batch(tagged[0], weight=weight)
        values = match.loss(logits[0], logits[1], found)
        loss = losses.mean(values, found.weights(match.over)).result()
        assert float(loss) == pytest.approx(np.average(each, weights=counted), abs=1e-5)


def test_layers_are_matched_at_every_token_of_a_row_that_counts(network, tagged):
    """The same as with a weight a row; accumulation and fit work on such weights too."""
    features, tags, weight = tagged
    teacher, student = network(head="token_classification"), network(head="token_classification")
    distiller = Distiller(teacher, student, TinyBertObjective.intermediate())
    distiller.compile("sgd", accumulation_steps=2)
    rows = weight.max(axis=1)
    by_row = distiller.evaluate(features, tags[:, 0], sample_weight=rows, batch_size=4, verbose=0, return_dict=True)
    found = distiller.evaluate(features, tags, sample_weight=weight, batch_size=4, verbose=0, return_dict=True)
    assert found == pytest.approx(by_row, rel=1e-5)
    trained = distiller.fit(features, tags, sample_weight=weight, batch_size=4, verbose=0)
    assert trained.history["loss"][0] == pytest.approx(by_row["loss"], rel=1e-4)
