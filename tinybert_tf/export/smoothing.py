"""A part of the activations' spread, given to the weights.

A row of activations has one scale, so that its largest column decides how finely all others are seen; a matrix has a scale
for each output, and of its inputs the largest decides likewise. Multiplying a column of activations and dividing its row of
weights by the same number changes no product. SmoothQuant (Xiao et al. 2022, https://arxiv.org/abs/2211.10438) chooses it
such that both have it equally hard: sqrt(largest weight / largest activation).

In front of the products with query, key and value, and of the feed-forward block, that is one more multiplication; the
attention's context has it from the value's weights, for nothing. On TinyBERT4's SST-2 student and sentences that it was not
made for, the noise that int8 activations bring into those products falls to 0.40 (query, key, value), 0.51 (feed-forward
block) and 0.69 (attention's output) of what it was in mean square, and that of the weights to 0.86, 0.99 and 0.87 (geometric
means over the layers).
"""

import dataclasses

import numpy as np

from tinybert_tf.export.quantization import Calibration
from tinybert_tf.export.weights import Dense, Layer, Network

# How much of their spread activations hand over: a half where each row has steps of its own, more where all share theirs.
_SHARE = 0.5
_STATIC_SHARE = 0.9


def smoothed(network: Network, calibration: Calibration, static: bool = False) -> Network:
    """The network with the same answers on activations of more even columns.

    `static` is for attentions with one range for all rows: it makes their inputs more even still.
    """
    share = _STATIC_SHARE if static else _SHARE
    layers = [_smoothed(layer, f"layer_{number}", calibration, share) for number, layer in enumerate(network.layers)]
    return dataclasses.replace(network, layers=tuple(layers))


def _smoothed(layer: Layer, name: str, calibration: Calibration, share: float) -> Layer:
    def largest(path: str) -> np.ndarray:
        return calibration.dense[f"{name}/{path}"].largest

    context_scale = _scale(largest("attention/output"), (layer.attention_output,), _SHARE)
    attention = (layer.query, layer.key, Dense(layer.value.kernel * context_scale))
    scale = _scale(largest("attention/value"), attention, share)
    query, key, value = (_after(dense, scale) for dense in attention)
    attention_scale = _scale(largest("intermediate"), (layer.intermediate,), _SHARE)
    return dataclasses.replace(
        layer,
        scale=scale,
        query=query,
        key=key,
        value=value,
        attention_output=_after(layer.attention_output, context_scale),
        attention_scale=attention_scale,
        intermediate=_after(layer.intermediate, attention_scale),
    )


def _scale(largest: np.ndarray, readers: tuple[Dense, ...], share: float) -> np.ndarray:
    """[in], around 1: what the columns of an activation are multiplied with that these layers read."""
    weights = np.max([np.abs(dense.kernel).max(axis=1) for dense in readers], axis=0)
    smallest = np.finfo(np.float32).tiny
    scale = np.maximum(weights, smallest) ** (1 - share) / np.maximum(largest, smallest) ** share
    # A column that is never used, or that no example shows, is left as it is.
    scale = np.where((weights > 0) & (largest > 0), scale, np.nan)
    scale /= np.exp(np.nanmean(np.log(scale)))
    return np.nan_to_num(scale, nan=1.0).astype(np.float32)


def _after(dense: Dense, scale: np.ndarray) -> Dense:
    """The layer that gives for x * scale what `dense` gives for x."""
    return Dense(dense.kernel / scale[:, None], dense.bias)
