"""Files of a network whose word table is coded."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.checkpoints.word_codes import WordCodes, use_codes
from tinybert_tf.export import TFLiteModel, export_tflite

TEXTS = [" ".join(f"w{(7 * row + 3 * word) % 60}" for word in range(row % 10 + 1)) for row in range(40)]


@pytest.fixture
def coded_dir(model_dir, tmp_path):
    """A model directory whose 20 first words have rows of their own, and the others codes of 8 groups of 6."""
    model, random = load_model(model_dir()), np.random.default_rng(0)
    words, width = model.embeddings.word_embeddings.embeddings.shape
    rows = random.integers(-7, 8, (21, width)).astype(np.int8)
    codes = random.integers(1, 256, (words - 19, 8)).astype(np.uint8)
    vectors = random.integers(-127, 128, (8, 256, 6)).astype(np.int8)
    rows[0], codes[0], vectors[:, 0] = 0, 0, 0
    places = np.concatenate([np.arange(1, 21), -np.arange(1, words - 19)]).astype(np.int32)
    scales = random.uniform(0.02, 0.06, (2, width)).astype(np.float32)
    use_codes(model, WordCodes(places, rows, scales[0], codes, vectors, scales[1] / 15))
    save_model(model, tmp_path / "coded", tokenizer_from=model_dir())
    return tmp_path / "coded"


def centered(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=-1, keepdims=True)


@pytest.mark.parametrize("quantize", ["int8", "dynamic", "int4_embeddings", "int4", "none", "float16"])
def test_a_file_of_every_mode_answers_like_the_network(coded_dir, features, tmp_path, quantize):
    path = tmp_path / "model.tflite"
    report = export_tflite(coded_dir, path, seq_len=12, quantize=quantize, calibration_texts=TEXTS)
    wanted = centered(np.asarray(load_model(coded_dir)(features)["logits"]))
    found = centered(np.log(TFLiteModel(path).predict(features)))
    most = {"none": 1e-4, "float16": 0.01, "int4": 0.6}.get(quantize, 0.12)
    assert np.abs(found - wanted).max() < most
    is_coded = quantize not in ("none", "float16")
    assert report.operators["GATHER"] == (5 if is_coded else 2)
    assert ("MAXIMUM" in report.operators) == is_coded


def test_dynamic_runs_on_old_runtimes(coded_dir, tmp_path):
    found = {}
    for quantize in ("dynamic", "int8"):
        export_tflite(coded_dir, tmp_path / "m.tflite", seq_len=12, quantize=quantize, calibration_texts=TEXTS)
        content = (tmp_path / "m.tflite").read_bytes()
        found[quantize] = {version for version in (b"2.8.0", b"2.18.0") if version in content}
    assert found == {"dynamic": {b"2.8.0"}, "int8": {b"2.18.0"}}


def test_a_table_that_was_changed_is_not_replaced_by_its_codes(coded_dir, model_dir, features, tmp_path, caplog):
    model = load_model(coded_dir)
    model.embeddings.word_embeddings.embeddings.assign_add(0.3 * np.ones((68, 48)))
    path = tmp_path / "model.tflite"
    export_tflite(model, path, seq_len=12, quantize="dynamic", tokenizer_from=model_dir())
    assert "the word table is no longer that of its codes" in caplog.text
    wanted = centered(np.asarray(model(features)["logits"]))
    assert np.abs(centered(np.log(TFLiteModel(path).predict(features))) - wanted).max() < 0.12


def test_files_of_several_lengths_share_the_codes(coded_dir, features, tmp_path):
    one = export_tflite(coded_dir, tmp_path / "one.tflite", seq_len=12, quantize="int8", calibration_texts=TEXTS)
    two = export_tflite(coded_dir, tmp_path / "two.tflite", seq_len=(12, 6), quantize="int8", calibration_texts=TEXTS)
    assert two.mb - one.mb < 0.06, "operators, no second table"
    short = {name: value[2:, :6] for name, value in features.items()}
    found = centered(np.log(TFLiteModel(tmp_path / "two.tflite").predict(short)))
    wanted = centered(np.asarray(load_model(coded_dir)(short)["logits"]))
    assert np.abs(found - wanted).max() < 0.12
