"""What a student takes over from its teacher."""

import json

import numpy as np
import pytest

from tinybert_tf.bert.config import FAMILIES
from tinybert_tf.checkpoints import load_model
from tinybert_tf.checkpoints.projections import write_projections
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import student as module
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.student import is_loaded, make_student

SIZE = "2x8x2x16"


@pytest.fixture
def mpnet(make_directory):
    directory = make_directory("teacher", model_type="mpnet", **FAMILIES["mpnet"])
    return load_model(directory), directory


def test_a_student_is_of_its_teacher_s_family_unless_told_otherwise(mpnet):
    kept, _ = make_student(*mpnet, SIZE, "random", "uniform", list)
    assert (kept.config.model_type, kept.config.num_hidden_layers) == ("mpnet", 2)
    plain, _ = make_student(*mpnet, SIZE, "random", "uniform", list, family="bert")
    assert (plain.config.model_type, plain.relative_attention_bias) == ("bert", None)
    assert plain.config.type_vocab_size == 2
    with pytest.raises(InputError, match="student_family=gpt: must be auto or bert"):
        make_student(*mpnet, SIZE, "random", "uniform", list, family="gpt")


def test_a_student_can_have_its_teacher_s_sizes_but_for_the_layers(mpnet):
    student, _ = make_student(*mpnet, "3xteacher", "random", "uniform", list)
    sizes = student.config.num_hidden_layers, student.config.hidden_size, student.config.intermediate_size
    assert sizes == (3, 16, 32)


def test_another_normalization_than_the_teacher_s_is_said(make_directory, caplog):
    teacher_dir, student_dir = make_directory("teacher"), make_directory("small")
    path = student_dir / "tokenizer_config.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    given = (load_model(teacher_dir), teacher_dir, str(student_dir), "auto", "uniform", list)
    make_student(*given)
    assert "normalized" not in caplog.text
    path.write_text(json.dumps(settings | {"do_lower_case": True, "normalization": "mediapipe"}))
    make_student(*given)
    assert f"the student {student_dir} has normalization=mediapipe and its teacher bert: texts are" in caplog.text


def test_projections_to_another_teacher_s_width_are_left_out(make_directory, caplog):
    teacher_dir, student_dir = make_directory("teacher"), make_directory("small")
    teacher = load_model(teacher_dir)
    states, width = teacher.config.num_hidden_layers + 1, teacher.config.hidden_size
    for outputs in (width, 2 * width):
        values = {n: (np.ones((width, outputs)), np.ones(outputs)) for n in range(states)}
        write_projections(values, student_dir)
        _, projections = make_student(teacher, teacher_dir, str(student_dir), "auto", "uniform", list)
        assert (projections is None) == (outputs != width)
        said = f"{student_dir}: its projections are not used: they lead to {outputs} dimensions and the teacher has {width}"
        assert (said in caplog.text) == (outputs != width)


def test_runs_that_share_a_cache_make_the_same_student_once(make_directory, tmp_path, monkeypatch):
    directory = make_directory("teacher")
    teacher, calls = load_model(directory), []
    initialize = module.initialize_student
    monkeypatch.setattr(module, "initialize_student", lambda *given: (calls.append(1), initialize(*given))[1])
    ids = np.random.default_rng(0).integers(1, 11, (64, 6), np.int32)

    def made(layers, numbers=ids):
        features = {"input_word_ids": numbers, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
        return make_student(teacher, directory, SIZE, "auto", layers, lambda: [features], cache_dir=tmp_path / "cache")

    first, projections = made("uniform")
    second, again = made("uniform")
    assert len(calls) == 1
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(projections, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    made("top")
    made("uniform", ids[::-1])
    assert len(calls) == 3, "another map and other texts make another student"


def test_a_model_is_loaded_or_made_in_a_size(tmp_path):
    (tmp_path / "4x12x2x24").mkdir()
    loaded = ("minilm_l6", "org/name", str(tmp_path), str(tmp_path / "4x12x2x24"), "runs/missing")
    made = ("tinybert4", "bert_small", "4x12x2x24", "4xteacher", "bilstm")
    assert all(is_loaded(name) for name in loaded) and not any(is_loaded(name) for name in made)


def test_a_network_of_a_size_needs_words(glue, tmp_path):
    settings = compose(
        FinetuneSettings, task="sst2", data_dir=str(glue), model="bert_tiny", output_dir=str(tmp_path / "run")
    )
    with pytest.raises(InputError, match="vocab is missing; a model given as a size"):
        finetune(settings)
