"""The loss of labels counts what its weights say, on every device together."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from tinybert_tf.train.trainer import LabelLoss

pytestmark = pytest.mark.usefixtures("eagerly")


def test_labels_of_words_are_averaged_over_the_words():
    """Two of sixteen positions hold a word: the loss of constant logits is log 2, not an eighth of it."""
    weights = np.zeros((2, 8), np.float32)
    weights[:, 1] = 1
    found = LabelLoss("token_classification")(np.zeros((2, 8), np.int32), np.zeros((2, 8, 2)), weights)
    assert float(found) == pytest.approx(np.log(2))


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.0, 1.0]])
def test_each_head_has_the_mean_of_its_loss_by_weight(weights):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(4, 3)).astype(np.float32), np.array([0, 2, 1, 1])
    each = -log_softmax(logits, -1)[np.arange(4), labels]
    found = LabelLoss("classification")(labels, logits, weights)
    assert float(found) == pytest.approx(np.average(each, weights=weights), rel=1e-5)
    scores = random.normal(size=4).astype(np.float32)
    found = LabelLoss("regression")(scores, logits[:, :1], weights)
    assert float(found) == pytest.approx(np.average((scores - logits[:, 0]) ** 2, weights=weights), rel=1e-5)
    places, spans = np.array([[0, 1], [1, 2], [2, 2], [0, 0]]), random.normal(size=(4, 3, 2)).astype(np.float32)
    each = [
        -np.mean([log_softmax(s, 0)[p, k] for k, p in enumerate(place)]) for s, place in zip(spans, places, strict=True)
    ]
    found = LabelLoss("span")(places, spans, weights)
    assert float(found) == pytest.approx(np.average(each, weights=weights), rel=1e-5)


def test_it_is_the_loss_that_keras_trains_with():
    """Without weights, and for labels of whole rows, it is Keras' own."""
    features, labels = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 2
    found = []
    for loss in (LabelLoss("classification"), keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.1), loss)
        history = model.fit(features, labels, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        found.append([*history, *model.get_weights()[0].ravel()])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert tf.math.is_finite(LabelLoss("classification")([0], [[0.0, 0.0]], [0.0])), "nothing counts"
