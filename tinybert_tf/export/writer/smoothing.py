"""Moves a part of the spread of activations into the weights (SmoothQuant, Xiao et al. 2022, https://arxiv.org/abs/2211.10438).

A row of activations has one scale, so that its largest column decides how finely all others are resolved; a matrix has a
scale for each output, and its largest input decides in the same way. Multiplying a column of activations and dividing the
corresponding row of weights by the same number changes no product. SmoothQuant chooses the number such that both are
equally hard to quantize: weight^(1 - share) / activation^share of the largest values, with a share of one half. Static
attention has one scale for all rows, and takes a larger share.

For the products with query, key and value, and for the feed-forward block, this costs one more multiplication; for the
attention's context the numbers are folded into the value's weights at no cost. On TinyBERT4's SST-2 student and sentences
that it was not calibrated on, the noise that int8 activations with a scale for each row add to those products falls to 0.40
(query, key, value), 0.51 (feed-forward block) and 0.69 (attention's output) of what it was in mean square, and the noise of
the weights to 0.86, 0.99 and 0.87 (geometric means over the layers).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinybert_tf.checkpoints.rounding import InputScaling
from tinybert_tf.export.writer.quantization import Calibration
from tinybert_tf.export.writer.weights import FoldedBert, FoldedLayer, Matrix

_SHARE = 0.5
# On the dev sets of SST-2, MRPC and STS-B the logits of TinyBERT4 with static attention are off by 0.054, 0.076 and 0.042
# (root mean square) with 0.5, by 0.038, 0.099 and 0.043 with 0.8, by 0.036, 0.102 and 0.038 with 0.9, by 0.043 with 1 (SST-2).
_STATIC_SHARE = 0.9


def input_scaling(network: FoldedBert, calibration: Calibration, static: bool = False) -> tuple[InputScaling, ...]:
    """The factors for each layer.

    Args:
        network: without a scaling.
        calibration: of the same network.
        static: attention has one range for all rows; its inputs are made more even than by default.
    """
    layers = []
    for number, layer in enumerate(network.layers):
        share = _STATIC_SHARE if static and number != network.first_token_layer else _SHARE
        layers.append(_layer_scaling(layer, f"layer_{number}", calibration, share))
    return tuple(layers)


def smoothed(network: FoldedBert, scaling: Sequence[InputScaling]) -> FoldedBert:
    """The network with the same outputs and scaled activations.

    Args:
        network: not changed.
        scaling: of each of its layers.
    """
    layers = tuple(_smoothed(layer, factors) for layer, factors in zip(network.layers, scaling, strict=True))
    return dataclasses.replace(network, layers=layers)


def _layer_scaling(layer: FoldedLayer, name: str, calibration: Calibration, share: float) -> InputScaling:
    def largest(path: str) -> np.ndarray:
        return calibration.dense[f"{name}/{path}"].largest

    context = _scale(largest("attention/output"), (layer.attention_output,), _SHARE)
    # All three read the same input, unless only the first token is read: then the value reads means over tokens.
    read = np.maximum(largest("attention/query"), largest("attention/value"))
    attention = _scale(read, (layer.query, layer.key, Matrix(layer.value.kernel * context)), share)
    return InputScaling(attention, context, _scale(largest("intermediate"), (layer.intermediate,), _SHARE))


def _smoothed(layer: FoldedLayer, factors: InputScaling) -> FoldedLayer:
    return dataclasses.replace(
        layer,
        scale=factors.attention,
        query=_after(layer.query, factors.attention),
        key=_after(layer.key, factors.attention),
        value=_after(Matrix(layer.value.kernel * factors.context), factors.attention),
        attention_output=_after(layer.attention_output, factors.context),
        attention_scale=factors.intermediate,
        intermediate=_after(layer.intermediate, factors.intermediate),
    )


def _scale(largest: np.ndarray, readers: tuple[Matrix, ...], share: float) -> np.ndarray:
    """[in], around 1: the factors of the columns of the activation that these layers read."""
    weights = np.max([np.abs(dense.kernel).max(axis=1) for dense in readers], axis=0)
    # A column that no weight uses, or that is zero in all examples, keeps the factor 1.
    used = (weights > 0) & (largest > 0)
    scale = np.ones_like(weights)
    scale[used] = weights[used] ** (1 - share) / largest[used] ** share
    scale[used] /= np.exp(np.log(scale[used]).sum() / max(used.sum(), 1))
    return scale


def _after(dense: Matrix, scale: np.ndarray) -> Matrix:
    """The layer whose output for x * scale equals that of `dense` for x."""
    return Matrix(dense.kernel / scale[:, None], dense.bias)
