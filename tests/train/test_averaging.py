"""The moving average of a network's weights."""

import numpy as np
import pytest

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.train.averaging import AveragedWeights
from tinybert_tf.train.quantization import QuantizeAware

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def model():
    config = BertConfig(
        vocab_size=60, hidden_size=48, num_hidden_layers=1, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=16, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    return build_model(config, "classification")


def weights(model) -> list[np.ndarray]:
    return [np.array(weight) for weight in model.trainable_weights]


def step(model, average, number: int) -> None:
    """What a step of training does: it changes the weights, and the callback hears of it."""
    random = np.random.default_rng(number)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(size=weight.shape))
    average.on_train_batch_end(number)


@pytest.mark.parametrize("momentum", [0.2, 0.99])
def test_the_average_is_that_of_its_formula(model, momentum):
    average, expected = AveragedWeights(model, momentum), weights(model)
    for number in range(1, 6):
        step(model, average, number)
        kept = min(momentum, (1 + number) / (10 + number))
        expected = [kept * old + (1 - kept) * new for old, new in zip(expected, weights(model), strict=True)]
    latest = weights(model)
    with average.averaged():
        for found, wanted in zip(weights(model), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    for found, wanted in zip(weights(model), latest, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_before_the_first_step_it_is_the_start(model):
    start, average = weights(model), AveragedWeights(model, 0.9)
    with average.averaged():
        for found, wanted in zip(weights(model), start, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_weights_come_back_after_an_error(model):
    average = AveragedWeights(model, 0.9)
    step(model, average, 1)
    latest = weights(model)
    with pytest.raises(ValueError, match="in between"), average.averaged():
        raise ValueError("in between")
    for found, wanted in zip(weights(model), latest, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_average_is_rounded_for_a_file(model):
    """The average of the exact weights, rounded: not an average of rounded ones, which no file can hold."""
    aware = QuantizeAware(model, "int4")
    average = AveragedWeights(model, 0.5)
    for number in (1, 2):
        step(model, average, number)
    latest = weights(model)
    with average.averaged():
        exact = model.transformer_layers[0].output_dense.kernel.numpy()
        with aware.rounded():
            kept = model.transformer_layers[0].output_dense.kernel.numpy()
    assert all(len(np.unique(np.round(column, 5))) <= 15 for column in kept.T), "15 steps of a scale"
    assert 0 < np.abs(kept - exact).mean() < np.abs(exact).mean()
    for found, wanted in zip(weights(model), latest, strict=True):
        np.testing.assert_array_equal(found, wanted)
