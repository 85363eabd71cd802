"""Static ranges span what real texts bring, and leave out what eight bits cannot hold."""

import numpy as np
import pytest
from scipy.special import softmax

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import calibration
from tinybert_tf.export.writer.calibration import MOST_INPUT_NOISE, _Attention, _Values, calibrate
from tinybert_tf.export.writer.quantization import Range
from tinybert_tf.export.writer.weights import folded_weights


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
    found = calibrate(model.config, network, model.head, features, static=True)
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
    assert not calibrate(model.config, network, model.head, features).attention, "which takes time"


def test_a_first_token_layer_is_seen_by_heads_and_is_not_static(model_dir, features):
    """Its keys and values meet a row for each head, however many tokens there are."""
    model = load_model(model_dir())
    network = folded_weights(model)
    for seq_len in (4, 12):  # 4 is the number of heads, too
        short = {name: value[2:, :seq_len] for name, value in features.items()}  # a text of fewer tokens than heads
        found = calibrate(model.config, network, model.head, short, static=True)
        assert found.attention.keys() == {"layer_0/attention"}
        squares = np.diag(found.dense["layer_1/attention/key"].moments).reshape(4, 12).sum(1)
        assert (squares > 0).all(), "each head's query counts"
    model = load_model(model_dir("span"))
    found = calibrate(model.config, folded_weights(model), "span", features, static=True)
    assert found.attention.keys() == {"layer_0/attention", "layer_1/attention"}


@pytest.mark.parametrize("limit", ["MOST_INPUT_NOISE", "MOST_LOGIT_NOISE", "MOST_CONTEXT_NOISE"])
def test_what_eight_bits_would_harm_is_left_to_itself(limit, model_dir, features, monkeypatch):
    model = load_model(model_dir())
    monkeypatch.setattr(calibration, limit, 0.0)
    seen = calibrate(model.config, folded_weights(model), model.head, features, static=True).attention
    if limit == "MOST_CONTEXT_NOISE":
        assert seen["layer_0/attention"].context is None
    else:
        assert not seen


def attention_of(query, key, value, input=None):
    """An attention that has seen one text, [S, H * d] each, of two heads."""
    tokens = len(query)
    heads = [part.reshape(tokens, 2, -1).swapaxes(0, 1) for part in (query, key, value)]
    logits = heads[0] @ heads[1].swapaxes(1, 2)
    probabilities = softmax(logits, axis=-1)
    tensors = {
        "input": value if input is None else input,
        "path/query/fully_connected": query,
        "path/key/fully_connected": key,
        "path/value/fully_connected": value,
        "path/logits/batch_matmul": logits,
        "path/softmax": probabilities,
        "path/context/batch_matmul": probabilities @ heads[2],
    }
    attention = _Attention("path", "input")
    attention.add(tensors.__getitem__, tokens)
    return attention, heads, logits, probabilities


def test_outliers_make_an_input_unfit():
    values = np.random.normal(size=(1000, 8))
    outliers = np.where(np.arange(values.size).reshape(values.shape) % 2000 == 0, 300, values)
    assert attention_of(values, values, values)[0].input_noise() < MOST_INPUT_NOISE
    assert attention_of(values, values, values, outliers)[0].input_noise() > MOST_INPUT_NOISE


@pytest.mark.parametrize("unevenness", [1, 100])
def test_logit_noise_is_that_of_rounded_queries_and_keys(unevenness):
    """What one column of the keys has too much and its column of the queries too little changes no logit, but every step."""
    query, key = np.random.normal(size=(2, 40, 16))
    uneven = np.where(np.arange(16) % 8 == 0, unevenness, 1.0)
    attention, heads, logits, _ = attention_of(query / uneven, key * uneven, key)
    rounded = []
    for values in heads[:2]:
        scale, _ = Range(values.min(), values.max()).even_step()
        rounded.append(np.round(values / scale) * scale)
    product = rounded[0] @ rounded[1].swapaxes(1, 2)
    scale, zero_point = Range(logits.min(), logits.max()).step()
    product = (np.round(product / scale + zero_point) - zero_point) * scale
    assert attention.logit_noise() == pytest.approx(np.mean(np.square(product - logits)), rel=0.4)
    assert (attention.logit_noise() < calibration.MOST_LOGIT_NOISE) == (unevenness == 1)


@pytest.mark.parametrize(("tokens", "fits"), [(16, True), (384, False)])
def test_even_attention_over_many_tokens_is_too_fine_for_eight_bits(tokens, fits):
    """1/384 lies between the steps 0 and 1/255."""
    value = np.random.normal(1, 1, (tokens, 8))
    attention, heads, _, probabilities = attention_of(np.zeros_like(value), np.zeros_like(value), value)
    assert (attention.seen().context is not None) == fits
    rounded = np.round(probabilities * 255) / 255
    error = np.mean(np.square((rounded - probabilities) @ heads[2])) / np.mean(np.square(probabilities @ heads[2]))
    assert attention.context_noise() == pytest.approx(error)


def test_noise_is_that_of_rounding():
    values = np.random.normal(size=20_000).astype(np.float32)
    seen = _Values()
    seen.add(values)
    assert seen.mean_square() == pytest.approx(np.mean(np.square(values)), rel=1e-5)
    for (scale, zero_point), noise in (
        (seen.range().step(), seen.noise()),
        (seen.range().even_step(), seen.even_noise()),
    ):
        rounded = (np.round(values / scale + zero_point) - zero_point) * scale
        assert noise == pytest.approx(np.mean((rounded - values) ** 2), rel=0.1)


def test_no_text_is_refused(model_dir, features):
    model = load_model(model_dir())
    with pytest.raises(InputError, match="no text to calibrate with"):
        calibrate(
            model.config, folded_weights(model), model.head, {name: value[:0] for name, value in features.items()}
        )
