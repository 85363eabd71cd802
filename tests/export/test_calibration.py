"""Static ranges span what real texts bring, and leave out what eight bits cannot hold."""

import numpy as np
import pytest
from scipy.special import softmax

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export.calibration import MOST_CONTEXT_NOISE, MOST_INPUT_NOISE, _Attention, _Values, calibrate
from tinybert_tf.export.quantization import Range
from tinybert_tf.export.weights import folded_weights


def test_a_range_holds_zero_and_its_ends():
    for low, high in ((-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0)):
        for scale, zero_point in (Range(low, high).step(), Range(low, high).even_step()):
            values = np.array([min(low, 0), max(high, 0), 0.0])
            steps = np.clip(np.round(values / scale) + zero_point, -128, 127)
            np.testing.assert_allclose((steps - zero_point) * scale, values, atol=scale)
            assert (steps[2] - zero_point) * scale == 0, "padding and zeros stay exact"
    assert Range(-1, 3).even_step() == (3 / 127, 0)


def test_what_is_seen_is_what_the_network_computes(model_dir, features):
    """The first layer's attention, which NumPy can compute from the normalised sum of the embeddings."""
    model = load_model(model_dir())
    network = folded_weights(model)
    found = calibrate(model.config, network, model.head, features, np.inf, np.inf)
    summed = (
        network.word[features["input_word_ids"]]
        + network.position[:12]
        + network.token_type[features["input_type_ids"]]
    )
    normal = (summed - summed.mean(-1, keepdims=True)) / summed.std(-1, keepdims=True)
    texts = [row[: mask.sum()] for row, mask in zip(normal, features["input_mask"], strict=True)]
    layer = network.layers[0]
    computed = {name: [] for name in ("input", "query", "key", "value", "logits", "context")}
    for text in texts:
        query, key, value = (
            text @ layer.query.kernel + layer.query.bias,
            text @ layer.key.kernel,
            text @ layer.value.kernel,
        )
        heads = [part.reshape(len(text), 4, 12).swapaxes(0, 1) for part in (query, key, value)]
        logits = heads[0] @ heads[1].swapaxes(1, 2)
        context = softmax(logits, axis=-1) @ heads[2]
        for name, values in zip(computed, (text, query, key, value, logits, context), strict=True):
            computed[name].append(values.ravel())
    seen = found.attention["layer_0/attention"]
    for name, values in computed.items():
        ends = np.concatenate(values)
        expected = pytest.approx((ends.min(), ends.max()), rel=1e-3)
        assert (getattr(seen, name).low, getattr(seen, name).high) == expected, name
    rows = np.concatenate(texts)
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(
            found.dense[f"layer_0/attention/{name}"].moments, rows.T @ rows / len(rows), atol=1e-3
        )
        np.testing.assert_allclose(found.dense[f"layer_0/attention/{name}"].largest, np.abs(rows).max(0), rtol=1e-3)
    assert found.dense["pooler"].moments.shape == (48, 48)


def test_the_layer_that_computes_the_first_token_alone_is_not_static(model_dir, features):
    for head, layers in (
        ("classification", {"layer_0/attention"}),
        ("span", {"layer_0/attention", "layer_1/attention"}),
    ):
        model = load_model(model_dir(head))
        found = calibrate(model.config, folded_weights(model), head, features, np.inf, np.inf)
        assert found.attention.keys() == layers


def test_what_eight_bits_would_harm_is_left_to_itself(model_dir, features):
    model = load_model(model_dir())
    network = folded_weights(model)
    assert not calibrate(model.config, network, model.head, features, 0.0, np.inf).attention
    (seen,) = calibrate(model.config, network, model.head, features, np.inf, 0.0).attention.values()
    assert seen.logits and seen.context is None
    values = np.random.normal(size=100_000).astype(np.float32)
    plain, outliers = _Values(), _Values()
    plain.add(values)
    outliers.add(np.where(np.arange(values.size) % 2000 == 0, 300, values))
    assert plain.noise() < MOST_INPUT_NOISE < outliers.noise()


@pytest.mark.parametrize(("tokens", "fits"), [(16, True), (384, False)])
def test_even_attention_over_many_tokens_is_too_fine_for_eight_bits(tokens, fits):
    """1/384 lies between the steps 0 and 1/255."""
    heads, size = 2, 4
    value = np.random.normal(1, 1, (tokens, heads * size))
    probabilities = np.full((heads, tokens, tokens), 1 / tokens)
    split = value.reshape(tokens, heads, size).swapaxes(0, 1)
    tensors = {
        "input": value,
        "path/query/fully_connected": value,
        "path/key/fully_connected": value,
        "path/value/fully_connected": value,
        "path/logits/batch_matmul": np.zeros_like(probabilities),
        "path/softmax": probabilities,
        "path/context/batch_matmul": probabilities @ split,
    }
    attention = _Attention("path", "input")
    attention.add(tensors.__getitem__, tokens)
    assert (attention.context_noise() < MOST_CONTEXT_NOISE) == fits
    assert (attention.seen(MOST_CONTEXT_NOISE).context is not None) == fits
    rounded = np.round(probabilities * 255) / 255
    error = np.mean(np.square((rounded - probabilities) @ split)) / np.mean(np.square(probabilities @ split))
    assert attention.context_noise() == pytest.approx(error)


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
