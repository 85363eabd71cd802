"""What example texts say about a file with integer weights: even inputs, ranges and sensitivities."""

from collections.abc import Sequence

import numpy as np

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.rounding import InputScaling
from tinybert_tf.export.sensitivity import with_sensitivity
from tinybert_tf.export.writer.calibration import calibrate, spread_rows
from tinybert_tf.export.writer.quantization import RANGE_TEXTS, Calibration, QuantizationMode
from tinybert_tf.export.writer.smoothing import input_scaling, smoothed
from tinybert_tf.export.writer.weights import FoldedBert


def even_inputs(
    model: BertModel, network: FoldedBert, head: str, mode: QuantizationMode, features: dict[str, np.ndarray]
) -> Sequence[InputScaling]:
    """Factors that make the inputs of each layer even, from the ranges of `RANGE_TEXTS` texts. Arguments: see `calibrated`."""
    seen = calibrate(model.config, network, head, spread_rows(features, RANGE_TEXTS))
    return input_scaling(network, seen, mode.static)


def calibrated(
    model: BertModel,
    network: FoldedBert,
    head: str,
    mode: QuantizationMode,
    features: dict[str, np.ndarray],
    scaling: Sequence[InputScaling] | None,
    has_integers: bool = False,
) -> tuple[FoldedBert, Calibration]:
    """What the integers of a file are chosen by, for the exporter and for the training through its rounding alike.

    Args:
        model: the network.
        network: its weights as `folded_weights` gives them.
        head: what the file answers.
        mode: of the file.
        features: example texts, int32 [texts, seq] by `INPUT_NAMES`, padding behind the texts.
        scaling: of the inputs of each layer; None leaves them as they are.
        has_integers: the weights were trained for integers of this kind: none are chosen by derivatives.

    Returns:
        The network with these inputs, and what it computes on the texts.

    Raises:
        InputError: no text.
    """
    if scaling is not None:
        network = smoothed(network, scaling)
    calibration = calibrate(model.config, network, head, features, mode.static)
    if mode.has_int4 and not has_integers:
        calibration = with_sensitivity(calibration, model, features, scaling, network.first_token_layer, head)
    return network, calibration
