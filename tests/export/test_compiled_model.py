"""LiteRT's CompiledModel, which apps call today, gives the numbers of the interpreter that this package runs files with."""

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.options import CpuOptions, Options

from tinybert_tf.export import QUANTIZE_MODES, TFLiteModel, export_tflite

TEXTS = [" ".join(f"w{(7 * row + 3 * word) % 60}" for word in range(row % 10 + 1)) for row in range(40)]


def compiled_outputs(model: CompiledModel, features: dict[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """As the app does it: buffers by the names of the signature, made once, written again for each row."""
    names = model.get_signature_list()[key]
    inputs = {name: model.create_input_buffer_by_name(key, name) for name in names["inputs"]}
    outputs = {name: model.create_output_buffer_by_name(key, name) for name in names["outputs"]}
    details = model.get_output_tensor_details(key)
    rows = {name: [] for name in outputs}
    for row in range(len(features["input_mask"])):
        for name, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(features[name][row]))
        model.run_by_name(key, inputs, outputs)
        for name, buffer in outputs.items():
            shape = details[name]["shape"]
            rows[name].append(np.asarray(buffer.read(int(np.prod(shape)), np.float32)).reshape(shape))
    return {name: np.concatenate(values) for name, values in rows.items()}


@pytest.mark.parametrize("mode", list(QUANTIZE_MODES))
def test_every_mode(mode, exported, features):
    path = exported("classification", mode).path
    found = compiled_outputs(CompiledModel.from_file(path), features, "serving_default")
    np.testing.assert_allclose(found["probability"], TFLiteModel(path).predict(features), atol=1e-6)


@pytest.mark.parametrize("head", ["regression", "span", "token_classification"])
def test_every_head(head, exported, features):
    path = exported(head).path
    found = compiled_outputs(CompiledModel.from_file(path), features, "serving_default")
    expected = TFLiteModel(path).predict(features)
    expected = expected if isinstance(expected, dict) else {next(iter(found)): expected}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_several_lengths_and_the_weight_cache(mode, model_dir, features, tmp_path):
    """With the cache file that the first load writes, the second load gives the same."""
    path = export_tflite(
        model_dir(), tmp_path / "a.tflite", seq_len=(12, 8, 4), quantize=mode, calibration_texts=TEXTS
    ).path
    cpu = CpuOptions(num_threads=1, xnnpack_weight_cache_path=str(tmp_path / "weights.xnnpack"))
    expected = TFLiteModel(path).predict(features)
    for _ in range(2):
        model = CompiledModel.from_file(path, options=Options(cpu_options=cpu))
        assert set(model.get_signature_list()) == {"serving_default", "seq_8", "seq_4"}
        lengths = features["input_mask"].sum(axis=1)
        for row, (length, key) in enumerate(
            zip((12, 12, 8, 4), (*["serving_default"] * 2, "seq_8", "seq_4"), strict=True)
        ):
            assert lengths[row] <= length
            given = {name: value[row : row + 1, :length] for name, value in features.items()}
            found = compiled_outputs(model, given, key)["probability"]
            np.testing.assert_allclose(found, expected[row : row + 1], atol=1e-6)
        del model
    assert (tmp_path / "weights.xnnpack").stat().st_size > 1000
