"""Distillation that prunes on the way, and distillation for a file's rounded weights."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.checkpoints.rounding import read_rounding
from tinybert_tf.errors import InputError
from tinybert_tf.settings import build, replace
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.gradual import pruned_student

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def settings(glue, make_directory, tmp_path):
    teacher = make_directory("teacher")
    values = {
        "task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "seq_len": 16, "train_batch_size": 8,
        "teacher": str(teacher), "student": str(teacher), "intermediate_epochs": 2.0, "prediction_epochs": 1.0,
        "evaluations": 1, "allow_weak_teacher": True, "teacher_dtype": "float32",
    }  # fmt: skip
    return build(DistillSettings, values)


@pytest.mark.slow
def test_a_student_is_pruned_and_distilled_in_rounds(settings, tmp_path):
    settings = replace(settings, prune_to="2x8x2x16", prune_rounds=2)
    result = distill_task(settings)
    config = load_model(result["model"]).config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size) == (2, 8, 16)
    between = load_model(tmp_path / "run" / "pruning" / "distilled_1" / "model").config
    assert (between.num_hidden_layers, between.hidden_size, between.intermediate_size) == (3, 12, 24)
    assert result["steps"] == 5 + 5  # one of the two passes of the intermediate stage, and the prediction stage
    assert distill_task(settings) == result


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prune_to": "4x8"}, "prune_to=4x8: must be a size"),
        ({"prune_to": "2x9x2x16"}, "prune_to=2x9x2x16: 9 must be a multiple of 2"),
        ({"prune_to": "2x8x2x16", "student": "tinybert4"}, "student=tinybert4: .* give a model directory"),
        ({"prune_to": "9x8x2x16"}, "num_hidden_layers=9: the model has 4"),
        ({"prune_to": "2x8x2x16", "dry_run": True}, "prune_to=2x8x2x16: has no dry run"),
        ({"quantize_aware": "int3"}, "quantize_aware=int3: must be int8, int4_embeddings or int4"),
        ({"quantize_aware": "int8", "stage": "intermediate"}, "quantize_aware=int8: is for the prediction stage"),
        ({"quantize_aware": "int8", "strategy": "mirrored"}, "quantize_aware=int8: runs on one device"),
        ({"train_integers": False}, "train_integers=False: is for weights that are rounded; set `quantize_aware`"),
        (
            {"prune_rounds": 2, "objective": "pd", "stage": "prediction"},
            "prune_rounds=2: distills layers .* `prune_rounds=1`",
        ),
        ({"weight_averaging": 1.0}, "weight_averaging=1.0: must be above 0 and below 1"),
        ({"weight_averaging": 0.9, "stage": "intermediate"}, "weight_averaging=0.9: is for the prediction stage"),
    ],
)
def test_what_does_not_fit_is_named(settings, changes, said):
    with pytest.raises(InputError, match=said):
        distill_task(replace(settings, **changes))


def test_a_network_that_is_trained_for_a_file_says_so(settings, tmp_path):
    result = distill_task(replace(settings, quantize_aware="int4", stage="prediction", max_steps=2))
    assert read_rounding(result["model"]).mode == "int4" and read_rounding(tmp_path / "run" / "last").mode == "int4"


def test_the_intermediate_stage_alone_leaves_out_what_belongs_to_the_other(settings):
    whole = replace(settings, quantize_aware="int4", train_integers=False, weight_averaging=0.9)
    alone = whole.of_intermediate_stage(prune_to=None)
    assert (alone.stage, alone.quantize_aware, alone.weight_averaging) == ("intermediate", None, None)
    assert alone.train_integers
    assert (whole.stage, whole.quantize_aware, whole.weight_averaging) == ("both", "int4", 0.9)


@pytest.mark.slow
def test_an_interrupted_run_with_pruning_resumes(settings, tmp_path, monkeypatch):
    from tests.train.test_resume import interrupt_after

    settings = replace(settings, prune_to="2x8x2x16", intermediate_epochs=1.0, prediction_epochs=0.4)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            distill_task(settings)
    assert any((tmp_path / "run" / "checkpoints").iterdir())
    result = distill_task(settings)
    assert result["steps"] == 5 + 2 and load_model(result["model"]).config.hidden_size == 8
    assert len(result["layer_map"]) == 2


def test_a_network_that_was_pruned_from_other_weights_is_made_again(settings, tmp_path, make_directory):
    settings = replace(settings, prune_to="2x8x2x16", stage="prediction", max_steps=1, student=str(make_directory("s")))
    kept = tmp_path / "run" / "pruning" / "pruned_1"
    pruned_student(settings, distill_task)
    first = load_model(kept).get_weights()
    record = kept.with_suffix(".json").stat().st_mtime_ns
    pruned_student(settings, distill_task)
    assert kept.with_suffix(".json").stat().st_mtime_ns == record, "nothing has changed"
    model = load_model(tmp_path / "s")
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    save_model(model, tmp_path / "s", tokenizer_from=tmp_path / "s")
    pruned_student(settings, distill_task)
    assert any(not np.allclose(a, b) for a, b in zip(first, load_model(kept).get_weights(), strict=True))
