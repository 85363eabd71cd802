"""What the builder writes is what the runtime reads."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.builder import FLOAT32, ModelBuilder
from tinybert_tf.export.writer.quantization import Range, quantized


def run(build, **inputs):
    """Builds a model of the given float inputs and runs it: outputs by name."""
    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        tensors = [graph.input(name, value.shape, FLOAT32) for name, value in inputs.items()]
        for name, tensor in build(graph, *tensors).items():
            graph.output(name, tensor)
    interpreter = Interpreter(model_content=flatbuffer.pack(builder.finish()))
    return interpreter.get_signature_runner()(**inputs)


def test_operations_compute_what_numpy_computes():
    x, y = np.random.normal(size=(2, 6, 4)).astype(np.float32)

    def build(graph, x, y):
        return {
            "add": graph.add(x, y),
            "sub": graph.sub(x, y),
            "mul": graph.mul(x, graph.constant(np.arange(4, dtype=np.float32))),
            "rsqrt": graph.rsqrt(graph.mul(x, x)),
            "tanh": graph.tanh(x),
            "relu": graph.relu(x),
            "mean": graph.mean(x),
            "sum": graph.sum(graph.reshape(x, (3, 2, 4)), axis=0),
            "transpose": graph.transpose(x, (1, 0)),
            "second": graph.split(x, 3, axis=0)[1],
            "slice": graph.slice(x, (1, 2), (3, 2)),
            "product": graph.batch_matmul(x, y, transpose_y=True),
            "dense": graph.fully_connected(
                x, graph.constant(np.ones((5, 4), np.float32)), graph.constant(np.arange(5.0, dtype=np.float32))
            ),
        }

    found = run(build, x=x, y=y)
    expected = {
        "add": x + y,
        "sub": x - y,
        "mul": x * np.arange(4),
        "rsqrt": 1 / np.abs(x),
        "tanh": np.tanh(x),
        "relu": np.maximum(x, 0),
        "mean": x.mean(-1, keepdims=True),
        "sum": x.reshape(3, 2, 4).sum(0),
        "transpose": x.T,
        "second": x[2:4],
        "slice": x[1:4, 2:],
        "product": x @ y.T,
        "dense": x.sum(-1, keepdims=True) + np.arange(5),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("transpose_y", [True, False])
def test_a_product_in_whole_numbers_is_off_by_its_steps(transpose_y):
    """Of ranges that lie unevenly about zero, as a softmax's do."""
    x = np.random.uniform(0, 1, (2, 5, 7)).astype(np.float32)
    y = np.random.normal(size=(2, 3, 7) if transpose_y else (2, 7, 3)).astype(np.float32)
    expected = x @ (y.swapaxes(1, 2) if transpose_y else y)
    result = Range(float(expected.min()), float(expected.max()))

    def build(graph, x, y):
        steps = graph.quantize(x, *Range(0, 1).step()), graph.quantize(y, *Range(-4, 4).even_step())
        return {"product": graph.dequantize(graph.batch_matmul_int8(*steps, *result.step(), transpose_y))}

    found = run(build, x=x, y=y)["product"]
    scale, _ = result.step()
    assert np.abs(found - expected).max() < scale / 2 + 7 * (0.5 / 255 * np.abs(y).max() + 4 / 127 / 2)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_scales_behind_a_product_equal_scales_inside():
    """FULLY_CONNECTED version 9 and a MUL against version 12, on weights of which one output is zero."""
    x = np.random.normal(size=(7, 64)).astype(np.float32)
    weights = np.random.normal(size=(40, 64)).astype(np.float32) * np.geomspace(0.01, 10, 40, dtype=np.float32)[:, None]
    weights[3] = 0
    bias = np.random.normal(size=40).astype(np.float32)
    integers, scales = quantized(weights, 8, axis=0)

    def build(graph, x):
        one = graph.constant(integers, scale=np.ones(1, np.float32))
        behind = graph.fully_connected(x, one, graph.constant(bias / scales.ravel()))
        return {
            "inside": graph.fully_connected(x, graph.constant(integers, scale=scales), graph.constant(bias)),
            "behind": graph.mul(behind, graph.constant(scales.ravel())),
        }

    found = run(build, x=x)
    size = np.abs(found["inside"]).max(axis=0)
    assert (np.abs(found["behind"] - found["inside"]) <= 2e-6 * size).all()
    assert np.abs(found["behind"] - (x @ weights.T + bias)).max() > 1e-3, "x is quantized"


def test_equal_constants_are_held_once():
    builder = ModelBuilder()
    for key in ("first", "second"):
        with builder.graph(key) as graph:
            x = graph.input("x", (1, 4), FLOAT32)
            table = graph.constant(np.arange(4, dtype=np.float32))
            assert graph.constant(np.arange(4, dtype=np.float32)) == table
            graph.output("y", graph.add(x, table))
    model = builder.finish()
    assert len([buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) == 16]) == 2
    interpreter = Interpreter(model_content=flatbuffer.pack(model))
    for key in ("first", "second"):
        found = interpreter.get_signature_runner(key)(x=np.ones((1, 4), np.float32))
        np.testing.assert_array_equal(found["y"], [[1, 2, 3, 4]])


def test_steps_are_within_half_a_scale_of_their_values():
    weights = np.random.normal(size=(5, 40)).astype(np.float32) * np.geomspace(0.01, 1, 5, dtype=np.float32)[:, None]
    weights[3] = 0
    for values, axis in ((weights, 0), (weights.T, 1)):
        steps, scales = quantized(values, 8, axis)
        assert steps.dtype == np.int8 and scales.shape == ((5, 1) if axis == 0 else (1, 5))
        assert np.isfinite(scales).all()
        assert (np.abs(steps).max(axis=1 - axis) == [127, 127, 127, 0, 127]).all()
        assert (np.abs(steps * scales - values) <= scales / 2 * 1.001).all()


def test_four_bits_clip_where_that_lowers_the_error():
    values = np.random.normal(size=(6, 200)).astype(np.float32)
    steps, scales = quantized(values, 4, axis=0)
    assert np.abs(steps).max() == 7
    plain = np.abs(values).max(axis=1, keepdims=True) / 7

    def error(scales):
        return np.square(np.clip(np.round(values / scales), -7, 7) * scales - values).sum(axis=1)

    assert (scales <= plain * 1.001).all() and (scales >= plain * 0.79).all()
    assert (error(scales) < error(plain)).any()
    assert (error(scales) <= error(plain) * 1.001).all()
