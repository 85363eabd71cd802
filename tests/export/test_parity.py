"""Parity is measured, not assumed: what it says of a file is what the file does."""

import numpy as np
import pytest

from tinybert_tf.bert import build_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteModel, benchmark, compare, compare_on_task, export_tflite


def accuracy(predictions, labels):
    return float((predictions == labels).mean())


def test_a_float_export_agrees_with_keras(model_dir, exported, features):
    report = compare(
        load_model(model_dir()), TFLiteModel(exported().path), [(features, np.array([0, 1, 2, 0]))], accuracy
    )
    assert report.max_logit_error < 1e-4
    assert (report.drop, report.agreement, report.examples) == (0.0, 1.0, 4)
    assert report.keras_score == report.tflite_score


def test_the_logit_error_is_that_of_the_logits(model_dir, exported, features):
    """A shift of one logit by 0.3 moves centred logits of three classes by 0.2, 0.1 and 0.1."""
    model = load_model(model_dir())
    bias = model.head_layer.bias
    bias.assign_add([0.3, 0.0, 0.0])
    report = compare(model, TFLiteModel(exported().path), [(features, np.zeros(4))], accuracy)
    assert report.max_logit_error == pytest.approx(0.2, abs=1e-3)


def test_filling_rows_do_not_count(model_dir, exported, features):
    labels, weights = np.array([0, 1, 2, 0]), np.array([1.0, 0.0, 1.0, 0.0])
    report = compare(
        load_model(model_dir()), TFLiteModel(exported().path), [(features, labels, weights)], lambda p, y: float(len(y))
    )
    assert (report.examples, report.keras_score) == (2, 2.0)
    with pytest.raises(InputError, match="no example"):
        compare(load_model(model_dir()), TFLiteModel(exported().path), [(features, labels, 0 * weights)], accuracy)


def test_a_regressor_is_compared_by_its_values(model_dir, exported, features):
    model = load_model(model_dir("regression"))
    model.head_layer.bias.assign_add([0.5])
    report = compare(
        model, TFLiteModel(exported("regression").path), [(features, np.zeros(4))], lambda p, y: float(p.mean())
    )
    assert report.max_logit_error == pytest.approx(0.5, abs=1e-4)
    assert report.drop == pytest.approx(0.5, abs=1e-4)
    assert report.agreement is None


def test_a_file_of_another_model_is_refused(model_dir, exported, features):
    with pytest.raises(InputError, match=r"returns \[4, 3\], the Keras model \[4, 1\]"):
        compare(load_model(model_dir("regression")), TFLiteModel(exported().path), [(features, np.zeros(4))], accuracy)


def test_a_task_is_scored_on_both_sides(model_dir, tmp_path):
    """Rows, tokens and the order of labels go through the same code as in training."""
    config = load_model(model_dir()).config.replace(label2id={"positive": 0, "negative": 1})
    from tinybert_tf.checkpoints import save_model

    save_model(build_model(config, "classification"), tmp_path / "model", tokenizer_from=model_dir())
    export_tflite(tmp_path / "model", tmp_path / "a.tflite", seq_len=8)
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("sentence\tlabel\nfilm w1\t1\nw2\t0\nw3 w4 w5 w6 w7 w8 w9 w10 w11\t0\n")
    report = compare_on_task(tmp_path / "model", tmp_path / "a.tflite", "sst2", tmp_path / "glue")
    assert (report.examples, report.drop) == (3, 0.0)
    assert report.max_logit_error < 1e-4
    with pytest.raises(InputError, match="head 'regression', but task sst2 needs 'classification'"):
        compare_on_task(model_dir("regression"), tmp_path / "a.tflite", "sst2", tmp_path / "glue")


def test_models_are_timed_side_by_side(exported):
    paths = [exported(quantize=mode).path for mode in ("none", "dynamic")]
    rows = benchmark(paths, threads=(1, 2), runs=4, warmup=1)
    assert [(row.path, row.threads, row.seq) for row in rows] == [
        (path, threads, 12) for threads in (1, 2) for path in paths
    ]
    assert all(0 < row.median_ms <= row.p90_ms for row in rows)
    assert rows[0].mb > rows[1].mb
    with pytest.raises(InputError, match="threads="):
        benchmark(paths, threads=(0,))
