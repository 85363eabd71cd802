"""Rounding for a layer's outputs beats rounding each weight for itself."""

import itertools

import numpy as np
import pytest

from tinybert_tf.export.writer.quantization import quantized
from tinybert_tf.export.writer.rounding import rounded


def correlated(rows, size, seed=0):
    """Inputs of a few causes, as a BERT's layers have them."""
    generator = np.random.default_rng(seed)
    causes = generator.normal(size=(rows, max(size // 4, 1))) @ generator.normal(size=(max(size // 4, 1), size))
    return causes + 0.3 * generator.normal(size=(rows, size))


def error(inputs, weights, steps):
    return np.square(inputs @ (weights - steps).T).sum(axis=0)


def test_no_choice_of_neighbours_is_much_better():
    """Against all 2^8 ways to round eight weights up or down."""
    inputs = correlated(200, 8)
    weights = np.random.default_rng(1).normal(scale=4, size=(6, 8))
    found = error(inputs, weights, rounded(weights, 127, inputs.T @ inputs / 200))
    nearest = error(inputs, weights, np.round(weights))
    floors = np.floor(weights)
    best = np.min([error(inputs, weights, floors + ups) for ups in itertools.product((0, 1), repeat=8)], axis=0)
    assert found.sum() < 0.5 * nearest.sum()
    assert found.sum() < 2 * best.sum()


@pytest.mark.parametrize("bits", [8, 4])
def test_unseen_inputs_gain_too(bits):
    inputs, others = np.split(correlated(1200, 150), [800])  # more inputs than a block
    weights = np.random.default_rng(1).normal(size=(40, 150))
    plain, scales = quantized(weights, bits, axis=0)
    steps, same = quantized(weights, bits, axis=0, moments=inputs.T @ inputs / 800)
    np.testing.assert_array_equal(scales, same)
    assert np.abs(steps).max() <= {8: 127, 4: 7}[bits] and steps.dtype == np.int8
    assert error(others, weights, steps * scales).sum() < 0.5 * error(others, weights, plain * scales).sum()


def test_inputs_that_have_nothing_in_common_leave_the_nearest():
    weights = np.random.default_rng(1).normal(scale=4, size=(5, 70))
    np.testing.assert_array_equal(rounded(weights, 127, np.diag(np.arange(1.0, 71))), np.round(weights))
    np.testing.assert_array_equal(rounded(weights, 3, np.zeros((70, 70))), np.clip(np.round(weights), -3, 3))


def cost(change, moments, sensitivity):
    """What a change [out, in] of the weights costs the answers."""
    return np.trace(sensitivity @ change @ moments @ change.T)


def test_errors_are_turned_away_from_what_the_answers_depend_on():
    inputs, outputs = correlated(800, 70), correlated(800, 90, seed=1)
    moments, sensitivity = inputs.T @ inputs / 800, outputs.T @ outputs / 800
    weights = np.random.default_rng(2).normal(scale=2, size=(90, 70))
    costs = [
        cost(found - weights, moments, sensitivity)
        for found in (np.round(weights), rounded(weights, 7, moments), rounded(weights, 7, moments, sensitivity))
    ]
    assert costs[1] < 0.5 * costs[0] and costs[2] < 0.5 * costs[1]


def test_no_choice_of_neighbours_is_much_better_for_the_answers():
    """Against all 2^8 ways to round two inputs of four outputs."""
    inputs, outputs = correlated(200, 2), correlated(200, 4, seed=1)
    moments, sensitivity = inputs.T @ inputs / 200, outputs.T @ outputs / 200
    found = nearest = best = 0.0
    for weights in np.random.default_rng(1).normal(scale=4, size=(20, 4, 2)):
        choices = (np.floor(weights) + np.reshape(up, (4, 2)) for up in itertools.product((0, 1), repeat=8))
        best += min(cost(choice - weights, moments, sensitivity) for choice in choices)
        nearest += cost(np.round(weights) - weights, moments, sensitivity)
        found += cost(rounded(weights, 127, moments, sensitivity) - weights, moments, sensitivity)
    assert found < 0.7 * nearest and found < 2 * best


def test_outputs_that_have_nothing_in_common_are_rounded_alone():
    inputs = correlated(200, 20)
    moments, weights = inputs.T @ inputs / 200, np.random.default_rng(1).normal(scale=2, size=(6, 20))
    found = rounded(weights, 3, moments, np.diag([5.0, 1, 4, 2, 3, 6]))
    np.testing.assert_array_equal(found, rounded(weights, 3, moments))


def test_rows_of_a_table_lose_what_no_answer_depends_on():
    random = np.random.default_rng(0)
    table, outputs = random.normal(size=(200, 24)).astype(np.float32), correlated(500, 24)
    sensitivity = outputs.T @ outputs / 500
    lost = lambda steps, scales: cost((steps * scales - table).T, np.eye(200), sensitivity)
    weighted, plain = quantized(table, 4, axis=1, moments=sensitivity), quantized(table, 4, axis=1)
    np.testing.assert_array_equal(weighted[1], plain[1])
    assert lost(*weighted) < 0.5 * lost(*plain)


def test_the_scales_of_a_table_suit_the_rows_that_are_read():
    random = np.random.default_rng(0)
    table, counts = random.normal(size=(300, 24)).astype(np.float32), np.zeros(300, int)
    table[250:] *= 2  # rare and large
    counts[:250] = random.integers(1, 100, 250)
    lost = lambda steps, scales: float((counts[:, None] * np.square(steps * scales - table)).sum())
    by_count, even = quantized(table, 4, axis=1, counts=counts), quantized(table, 4, axis=1)
    assert lost(*by_count) < 0.7 * lost(*even)
    assert np.all(by_count[1] > 0) and np.abs(by_count[0]).max() == 7
    again = quantized(by_count[0] * by_count[1], 4, axis=1, counts=counts[::-1])
    np.testing.assert_array_equal(again[0], by_count[0])  # what is a multiple of its scale stays as it is
    for found, expected in zip(quantized(table, 8, axis=1, counts=counts), quantized(table, 8, axis=1), strict=True):
        np.testing.assert_array_equal(found, expected)
