"""The matrices W of the hidden losses lie beside a student, or inside the published TinyBERT checkpoints."""

import numpy as np
import pytest
import safetensors.numpy

from tinybert_tf.checkpoints import load_model, read_projections, save_model, write_projections
from tinybert_tf.checkpoints.projections import FILE_NAME
from tinybert_tf.errors import InputError


@pytest.fixture
def student(network, tmp_path):
    save_model(network("encoder"), tmp_path / "student")
    return tmp_path / "student"


def add(directory, **tensors):
    path = directory / "model.safetensors"
    tensors = {name.replace("__", "."): value for name, value in tensors.items()}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path) | tensors, path)


def test_projections_come_back_as_written(student):
    written = [(np.random.rand(24, 32).astype(np.float32), np.random.rand(32).astype(np.float32)) for _ in range(3)]
    write_projections(dict(enumerate(written)), student)
    for (kernel, bias), (kernel_again, bias_again) in zip(written, read_projections(student, 3), strict=True):
        np.testing.assert_array_equal(kernel, kernel_again)
        np.testing.assert_array_equal(bias, bias_again)


def test_a_student_that_never_met_a_teacher_has_none(student):
    assert read_projections(student, 3) is None


def test_fit_dense_serves_every_hidden_state(student, caplog):
    weight = np.random.rand(32, 24).astype(np.float32)
    add(student, fit_dense__weight=weight, fit_dense__bias=np.ones(32, np.float32))
    projections = read_projections(student, 3)
    assert len(projections) == 3
    for kernel, bias in projections:
        np.testing.assert_array_equal(kernel, weight.T)
        np.testing.assert_array_equal(bias, np.ones(32))
    load_model(student)
    assert "not used: fit_dense.bias, fit_dense.weight" in caplog.text


def test_fit_denses_are_one_each(student):
    weights = np.random.rand(3, 32, 24).astype(np.float32)
    add(student, **{f"fit_denses__{number}__weight": weight for number, weight in enumerate(weights)})
    for (kernel, bias), weight in zip(read_projections(student, 3), weights, strict=True):
        np.testing.assert_array_equal(kernel, weight.T)
        np.testing.assert_array_equal(bias, np.zeros(32))


def test_projections_of_another_student_are_refused(student):
    write_projections(dict.fromkeys(range(3), (np.zeros((24, 32)), np.zeros(32))), student)
    with pytest.raises(InputError, match=r"distill\.safetensors: has 3 projections.*5 hidden states"):
        read_projections(student, 5)


def test_projections_are_finite_floats(student):
    weight = np.random.rand(32, 24)
    path = student / FILE_NAME
    safetensors.numpy.save_file({"fit_dense.weight": weight.astype(np.float16)}, path)
    for kernel, bias in read_projections(student, 3):
        assert kernel.dtype == bias.dtype == np.float32
    for value, said in (
        (weight.astype(np.int8), "holds int8, so the weights are quantized"),
        (np.full_like(weight, np.inf), "holds NaN or"),
    ):
        safetensors.numpy.save_file({"fit_dense.weight": value}, path)
        with pytest.raises(InputError, match=rf"distill\.safetensors: tensor fit_dense\.weight {said}"):
            read_projections(student, 3)


def test_a_checkpoint_of_another_kind_has_none(tmp_path):
    """A student may be one of Google's or KerasHub's, whose files are not looked into."""
    (tmp_path / "bert_model.ckpt.index").touch()
    assert read_projections(tmp_path, 3) is None


def test_hidden_states_that_were_not_matched_have_none(student):
    written = (np.random.rand(24, 32).astype(np.float32), np.zeros(32, np.float32))
    write_projections({1: written, 2: written}, student, count=3)
    first, *others = read_projections(student, 3)
    assert first is None and len(others) == 2
    np.testing.assert_array_equal(others[1][0], written[0])
    with pytest.raises(InputError, match=r"has 3 projections.*5 hidden states"):
        read_projections(student, 5)
