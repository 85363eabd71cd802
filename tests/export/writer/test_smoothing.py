"""Smoothing makes columns even and changes no answer."""

import dataclasses

import numpy as np

from tinybert_tf.checkpoints import load_model
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.builder import ModelBuilder
from tinybert_tf.export.writer.calibration import calibrate
from tinybert_tf.export.writer.graph import NetworkWriter
from tinybert_tf.export.writer.quantization import QuantizationMode
from tinybert_tf.export.writer.smoothing import input_scaling, smoothed
from tinybert_tf.export.writer.weights import Matrix, folded_weights


def answers(model, network, features):
    from ai_edge_litert.interpreter import Interpreter

    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        NetworkWriter(model.config, network, model.head, QuantizationMode("float32"), 12).write(graph, 12)
    run = Interpreter(model_content=flatbuffer.pack(builder.finish())).get_signature_runner("serving_default")
    rows = [run(**{name: value[row : row + 1] for name, value in features.items()}) for row in range(4)]
    return np.concatenate([row["probability"] for row in rows])


def test_answers_stay_and_columns_become_even(model_dir, features):
    model = load_model(model_dir())
    network = folded_weights(model)
    before = calibrate(model.config, network, model.head, features)
    smooth = smoothed(network, input_scaling(network, before))
    after = calibrate(model.config, smooth, model.head, features)
    np.testing.assert_allclose(answers(model, smooth, features), answers(model, network, features), atol=1e-5)
    layer = smooth.layers[0]
    readers = {
        "layer_0/attention/value": (layer.query, layer.key, layer.value),
        "layer_0/attention/output": (layer.attention_output,),
        "layer_0/intermediate": (layer.intermediate,),
    }
    for path, dense_layers in readers.items():
        weights = np.max([np.abs(dense.kernel).max(axis=1) for dense in dense_layers], axis=0)
        ratio = after.dense[path].largest / weights
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3, err_msg="columns and weights have it equally hard")


def test_static_inputs_become_more_even_still(model_dir, features):
    model = load_model(model_dir())
    network = folded_weights(model)
    before = calibrate(model.config, network, model.head, features)
    spreads = []
    for static in (False, True):
        smooth = smoothed(network, input_scaling(network, before, static))
        np.testing.assert_allclose(answers(model, smooth, features), answers(model, network, features), atol=1e-5)
        largest = calibrate(model.config, smooth, model.head, features).dense["layer_0/attention/value"].largest
        spreads.append(np.log(largest).std())
    assert spreads[1] < 0.5 * spreads[0]


def test_a_column_that_nothing_reads_is_left_alone(model_dir, features):
    model = load_model(model_dir())
    network = folded_weights(model)
    kernel = network.layers[0].intermediate.kernel.copy()
    kernel[5] = 0
    first = dataclasses.replace(network.layers[0], intermediate=Matrix(kernel, network.layers[0].intermediate.bias))
    network = dataclasses.replace(network, layers=(first, *network.layers[1:]))
    scale = (
        smoothed(network, input_scaling(network, calibrate(model.config, network, model.head, features)))
        .layers[0]
        .attention_scale
    )
    assert scale[5] == 1 and np.isfinite(scale).all()
    assert np.exp(np.log(np.delete(scale, 5)).mean()) > 0.99
