"""Mixed precision: which dtype a name stands for, float32 weights, and float16 steps that are skipped by all replicas."""

import json
import logging

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import precision
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import LossScaling, Precision, frozen_dtype, training_dtype

TASK = {"task": "sst2", "train_batch_size": 8, "seq_len": 16, "evaluations": 2, "max_steps": 6}


@pytest.fixture
def has_bfloat16(monkeypatch):
    """Says that the hardware has, or has not, bfloat16 products."""
    return lambda has: monkeypatch.setattr(precision, "has_bfloat16_products", lambda: has)


def test_without_bfloat16_products_float32_is_used_and_one_line_says_so(has_bfloat16, caplog):
    caplog.set_level(logging.INFO)
    has_bfloat16(True)
    assert (training_dtype("auto"), frozen_dtype("auto")) == ("mixed_bfloat16", "bfloat16")
    assert (training_dtype("mixed_bfloat16"), frozen_dtype("bfloat16")) == ("mixed_bfloat16", "bfloat16")
    assert not caplog.records
    has_bfloat16(False)
    for resolve, name in (
        (training_dtype, "auto"),
        (training_dtype, "mixed_bfloat16"),
        (frozen_dtype, "bfloat16"),
        (frozen_dtype, "mixed_bfloat16"),
    ):
        caplog.clear()
        assert resolve(name) == "float32"
        assert len(caplog.records) == 1 and "no bfloat16 products" in caplog.records[0].getMessage()
    assert training_dtype("mixed_float16") == frozen_dtype("mixed_float16") == "mixed_float16"


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"float99: must be float32, mixed_bfloat16, mixed_float16 or auto"):
        training_dtype("float99")
    with pytest.raises(InputError, match=r"float99: must be float32, mixed_bfloat16, mixed_float16, auto or bfloat16"):
        frozen_dtype("float99")


@pytest.mark.slow
def test_runs_in_mixed_precision_learn_what_float32_learns_and_save_float32(
    glue, make_directory, tmp_path, has_bfloat16
):
    has_bfloat16(True)
    weights = {}
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=1)
    for dtype in ("float32", "mixed_bfloat16", "mixed_float16"):
        settings = TASK | {"data_dir": str(glue), "dtype": dtype}
        run = tmp_path / dtype
        distill_task(
            compose(DistillSettings,
                **settings, teacher=str(teacher), student=str(student), output_dir=str(run), teacher_dtype=dtype,
                stage="prediction", prediction_learning_rate=1e-3,
            )
        )  # fmt: skip
        weights[dtype] = safetensors.numpy.load_file(run / "last" / "model.safetensors")
        assert (
            json.loads((run / "run.json").read_text())["resolved"].items()
            >= {"dtype": dtype, "teacher_dtype": dtype}.items()
        )
    begin = safetensors.numpy.load_file(student / "model.safetensors")
    for dtype, tensors in weights.items():
        assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}
        assert any(np.abs(value - begin[name]).max() > 1e-4 for name, value in tensors.items()), dtype
        for name, value in tensors.items():
            np.testing.assert_allclose(value, weights["float32"][name], atol=0.02, err_msg=f"{dtype} {name}")


def test_a_resumed_run_keeps_the_dtype_that_it_began_with(has_bfloat16):
    has_bfloat16(False)
    assert Precision.of({}, "auto") == Precision("float32")
    begun = {"dtype": "mixed_bfloat16", "teacher_dtype": None}
    assert Precision.of(begun, "auto") == Precision("mixed_bfloat16")


def test_a_step_of_float16_that_overflows_is_skipped_and_the_scale_halved():
    variable = keras.Variable(np.ones(2), dtype="float32", name="kernel")
    optimizer = LossScaling(bert_adamw(0.1, 10, warmup_proportion=0.0))
    optimizer.build([variable])
    scale = float(optimizer.dynamic_scale)
    optimizer.apply([tf.constant([np.inf, 1.0])], [variable])
    np.testing.assert_array_equal(variable, [1, 1])
    assert float(optimizer.dynamic_scale) == scale / 2 and int(optimizer.iterations) == 0
    optimizer.apply([tf.constant([1.0, 1.0]) * scale], [variable])
    assert np.all(variable.numpy() < 1) and int(optimizer.iterations) == 1
