"""Static ranges span what real texts bring, and leave out what eight bits cannot hold."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export.calibration import MOST_NOISE, _Values, calibrate
from tinybert_tf.export.quantization import Range
from tinybert_tf.export.weights import folded_weights


def test_a_range_holds_zero_and_its_ends():
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0)):
        scale, zero_point = Range(low, high).step()
        values = np.array([min(low, 0), max(high, 0), 0.0])
        steps = np.clip(np.round(values / scale) + zero_point, -128, 127)
        np.testing.assert_allclose((steps - zero_point) * scale, values, atol=scale)
        assert (steps[2] - zero_point) * scale == 0, "padding and zeros stay exact"


def test_ranges_are_those_of_the_network(model_dir, features):
    """Of the first layer's input, which NumPy can compute: the normalised sum of the embeddings."""
    model = load_model(model_dir())
    network = folded_weights(model)
    layers = calibrate(model.config, network, model.head, features, most_noise=np.inf)
    assert {name.partition("/")[0] for name, layer in layers.items() if layer.ranges} == {"layer_0", "layer_1"}
    summed = (
        network.word[features["input_word_ids"]]
        + network.position[:12]
        + network.token_type[features["input_type_ids"]]
    )
    summed = summed[features["input_mask"] == 1]
    normal = (summed - summed.mean(-1, keepdims=True)) / summed.std(-1, keepdims=True)
    seen, _ = layers["layer_0/attention/query"].ranges
    assert seen.low == pytest.approx(normal.min(), rel=1e-3)
    assert seen.high == pytest.approx(normal.max(), rel=1e-3)
    assert layers["layer_0/attention/key"].ranges[0] == seen, "one input, one range"
    np.testing.assert_allclose(layers["layer_0/attention/key"].moments, normal.T @ normal / len(normal), atol=1e-3)
    assert layers["pooler"].ranges is None, "which sees the first token alone"
    assert layers["pooler"].moments.shape == (48, 48)


def test_a_layer_whose_noise_is_too_loud_is_left_to_itself(model_dir, features):
    model = load_model(model_dir())
    network = folded_weights(model)
    assert not any(seen.ranges for seen in calibrate(model.config, network, model.head, features, 0.0).values())
    values = np.random.normal(size=100_000).astype(np.float32)
    plain, outliers = _Values(), _Values()
    plain.add(values)
    outliers.add(np.where(np.arange(values.size) % 2000 == 0, 300, values))
    assert plain.noise() < MOST_NOISE < outliers.noise()


def test_noise_is_that_of_rounding():
    values = np.random.normal(size=20_000).astype(np.float32)
    seen = _Values()
    seen.add(values)
    scale, zero_point = seen.range().step()
    kept = values[(values > seen.range().low) & (values < seen.range().high)]
    rounded = (np.round(kept / scale + zero_point) - zero_point) * scale
    assert seen.noise() == pytest.approx(np.mean((rounded - kept) ** 2) / np.mean(kept**2), rel=0.1)


def test_no_text_is_refused(model_dir, features):
    model = load_model(model_dir())
    with pytest.raises(InputError, match="no text to calibrate with"):
        calibrate(
            model.config, folded_weights(model), model.head, {name: value[:0] for name, value in features.items()}
        )
