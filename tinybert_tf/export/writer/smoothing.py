"""A part of the activations' spread, given to the weights.

A row of activations has one scale, so that its largest column decides how finely all others are seen; a matrix has a scale
for each output, and of its inputs the largest decides likewise. Multiplying a column of activations and dividing its row of
weights by the same number changes no product. SmoothQuant (Xiao et al. 2022, https://arxiv.org/abs/2211.10438) chooses it
such that both have it equally hard: weight^(1 - share) / activation^share of the largest, with a share of one half. Static
attention has one scale for all rows, and takes a larger share.

In front of the products with query, key and value, and of the feed-forward block, that is one more multiplication; the
attention's context has it from the value's weights, for nothing. On TinyBERT4's SST-2 student and sentences that it was not
made for, the noise that int8 activations with scales by row bring into those products falls to 0.40 (query, key, value),
0.51 (feed-forward block) and 0.69 (attention's output) of what it was in mean square, and that of the weights to 0.86, 0.99
and 0.87 (geometric means over the layers).
"""

import dataclasses

import numpy as np

from tinybert_tf.export.writer.quantization import Calibration
from tinybert_tf.export.writer.weights import Dense, Layer, Network

_SHARE = 0.5
# On the dev sets of SST-2, MRPC and STS-B the logits of TinyBERT4 with static attention are off by 0.054, 0.076 and 0.042
# (root mean square) with 0.5, by 0.038, 0.099 and 0.043 with 0.8, by 0.036, 0.102 and 0.038 with 0.9, by 0.043 with 1 (SST-2).
_STATIC_SHARE = 0.9


def smoothed(network: Network, calibration: Calibration, static: bool = False) -> Network:
    """The network with the same answers on activations of more even columns.

    `static` is for attentions with one range for all rows: it makes their inputs more even still.
    """
    layers = []
    for number, layer in enumerate(network.layers):
        share = _STATIC_SHARE if static and number != network.first_token_layer else _SHARE
        layers.append(_smoothed(layer, f"layer_{number}", calibration, share))
    return dataclasses.replace(network, layers=tuple(layers))


def _smoothed(layer: Layer, name: str, calibration: Calibration, share: float) -> Layer:
    def largest(path: str) -> np.ndarray:
        return calibration.dense[f"{name}/{path}"].largest

    context_scale = _scale(largest("attention/output"), (layer.attention_output,), _SHARE)
    attention = (layer.query, layer.key, Dense(layer.value.kernel * context_scale))
    # One input, but where the first token alone is read: there the query meets it, and the value means of all tokens.
    read = np.maximum(largest("attention/query"), largest("attention/value"))
    scale = _scale(read, attention, share)
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
    # A column that is never used, or that no example shows, is left as it is.
    used = (weights > 0) & (largest > 0)
    scale = np.ones_like(weights)
    scale[used] = weights[used] ** (1 - share) / largest[used] ** share
    scale[used] /= np.exp(np.log(scale[used]).sum() / max(used.sum(), 1))
    return scale


def _after(dense: Dense, scale: np.ndarray) -> Dense:
    """The layer that gives for x * scale what `dense` gives for x."""
    return Dense(dense.kernel / scale[:, None], dense.bias)
