"""Rounding for a layer's outputs beats rounding each weight for itself."""

import itertools

import numpy as np
import pytest

from tinybert_tf.export.writer.quantization import quantized, rounded


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
    np.testing.assert_array_equal(again[0], by_count[0])  # what is on the grid stays there
    for found, expected in zip(quantized(table, 8, axis=1, counts=counts), quantized(table, 8, axis=1), strict=True):
        np.testing.assert_array_equal(found, expected)
