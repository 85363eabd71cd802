"""The teacher is scored before it teaches; recipes, layer maps and the dry run."""

import json

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.api import predict
from tinybert_tf.settings import compose, replace
from tinybert_tf.train import run as run_module
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.settings import MatchingSettings

pytestmark = pytest.mark.usefixtures("eagerly")


def settings(glue, teacher, student, output, **changes):
    common = {"task": "sst2", "data_dir": str(glue), "train_batch_size": 8, "seq_len": 16, "max_steps": 2}
    paths = {"teacher": str(teacher), "student": str(student), "output_dir": str(output), "teacher_dtype": "float32"}
    return compose(DistillSettings, **(common | paths | {"stage": "prediction", "evaluations": 1} | changes))


def test_a_teacher_at_chance_is_stopped_unless_it_is_allowed(glue, make_directory, tmp_path, caplog):
    (glue / "SST-2" / "dev.tsv").write_text((glue / "SST-2" / "train.tsv").read_text())  # 40 rows, half of each class
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=1)
    with pytest.raises(InputError, match="accuracy on dev is 0.5000, and the best constant answer has 0.5000"):
        distill_task(settings(glue, teacher, student, tmp_path / "d"))
    assert not (tmp_path / "d").exists()
    result = distill_task(settings(glue, teacher, student, tmp_path / "d", allow_weak_teacher=True))
    assert result["teacher_score"] == 0.5 and result["retention"] == pytest.approx(result["score"] / 0.5)
    assert "teacher  dev  accuracy 0.5000" in caplog.messages
    assert json.loads((tmp_path / "d" / "run.json").read_text())["resolved"]["teacher_score"] == 0.5


@pytest.mark.slow
def test_a_trained_student_is_kept_where_no_step_is_better(glue, make_directory, tmp_path, caplog):
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=1)
    dev = glue / "SST-2" / "dev.tsv"
    sentences = [line.split("\t")[0] for line in dev.read_text().splitlines()[1:]]
    answers = predict(student, sentences, seq_len=16).argmax(axis=-1)  # so its score before the first step is 1
    rows = "\n".join(f"{sentence}\t{answer}" for sentence, answer in zip(sentences, answers, strict=True))
    dev.write_text(f"sentence\tlabel\n{rows}\n")
    changes = {"prediction_learning_rate": 1.0, "allow_weak_teacher": True}
    result = distill_task(settings(glue, teacher, student, tmp_path / "d", **changes))
    assert result["score"] == 1.0
    kept = (tmp_path / "d" / name for name in ("model", "last"))
    before, model, last = (load_model(path).head_layer.get_weights()[0] for path in (student, *kept))
    np.testing.assert_array_equal(model, before)
    assert np.abs(last - before).max() > 0.1
    assert any("no step was better on dev than the start" in message for message in caplog.messages)


def test_a_student_without_a_head_is_not_scored_before_it_learns(glue, make_directory, tmp_path):
    directories = make_directory("t"), make_directory("s", head="encoder", num_hidden_layers=1)
    distill_task(settings(glue, *directories, tmp_path / "d", allow_weak_teacher=True))
    rows = map(json.loads, (tmp_path / "d" / "metrics.jsonl").read_text().splitlines())
    assert [row["step"] for row in rows if row["split"] == "dev"] == [2]


def test_a_joint_stage_learns_layers_and_logits(glue, make_directory, tmp_path):
    directories = make_directory("t"), make_directory("s", num_hidden_layers=2)
    changes = {"stage": "joint", "hidden_weight": 3.0, "allow_weak_teacher": True}
    result = distill_task(settings(glue, *directories, tmp_path / "d", **changes))
    rows = map(json.loads, (tmp_path / "d" / "metrics.jsonl").read_text().splitlines())
    losses = next(row for row in rows if row["split"] == "train")
    terms = {"attention_loss": 1, "hidden_loss": 3, "embedding_loss": 1, "prediction_loss": 1}
    assert losses["loss"] == pytest.approx(sum(weight * losses[name] for name, weight in terms.items()), rel=1e-5)
    assert result["steps"] == 2 and (tmp_path / "d" / "model").is_dir()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "mobilebert"}, "objective=mobilebert: has no joint stage"),
        ({"recipe": "published"}, "recipe=published: has two stages"),
        ({"layer_map": "learned"}, "layer_map=learned: is found in two stages"),
        ({"prune_to": "2x8x2x16"}, "prune_to=2x8x2x16: prunes in an intermediate stage"),
        ({"teacher": "t,u"}, "teacher=t,u: gives the mean of logits alone"),
        ({"prediction_target": "label"}, "prediction_target=label: is for a prediction stage that compares no layers"),
    ],
)
def test_what_a_joint_stage_cannot_do_is_named(changes, said):
    with pytest.raises(InputError, match=f"{said}.*; set `stage=both`"):
        compose(DistillSettings, **({"task": "sst2", "teacher": "t", "stage": "joint"} | changes))


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(glue, make_directory, tmp_path):
    changes = {
        "stage": "both",
        "max_steps": None,
        "intermediate_epochs": 2.0,
        "prediction_epochs": 1.0,
        "dry_run": True,
    }
    directories = make_directory("t"), make_directory("s", num_hidden_layers=1)
    plan = distill_task(settings(glue, *directories, tmp_path / "d", **changes))
    assert plan["steps"] == 10 + 5 and plan["minutes"] >= 0 and plan["memory_gb"] > 0 and plan["disk_gb"] >= 0
    assert not (tmp_path / "d").exists()


def test_layer_maps_are_names_or_lists():
    assert MatchingSettings().layers == "uniform"
    assert MatchingSettings(layer_map="3,6,9,12").layers == [3, 6, 9, 12]
    with pytest.raises(
        InputError, match="layer_map=middle: must be uniform, top, bottom, learned, search, or teacher layers"
    ):
        MatchingSettings(layer_map="middle")


def test_a_recipe_decides_what_is_not_given():
    ours, published = MatchingSettings(), MatchingSettings(recipe="published")
    assert (ours.counted_padding, ours.has_dropout) == ("exclude", False)
    assert (published.counted_padding, published.has_dropout) == ("reference", True)
    mixed = MatchingSettings(recipe="published", padding="exclude", student_dropout=False)
    assert (mixed.counted_padding, mixed.has_dropout) == ("exclude", False)
    distilling = compose(DistillSettings, recipe="published")
    assert distilling.learns_labels("regression") and not distilling.learns_labels("classification")
    assert not compose(DistillSettings, recipe="published", prediction_target="teacher").learns_labels("regression")
    with pytest.raises(InputError, match="recipe=paper: must be ours or published"):
        MatchingSettings(recipe="paper")


def test_a_run_of_an_earlier_version_has_the_defaults_of_what_was_added(tmp_path):
    now = settings("g", "t", "s", tmp_path)
    (tmp_path / "model").mkdir()
    then = {
        "task": "sst2", "data_dir": "g", "seq_len": 16, "train_batch_size": 8, "max_steps": 2, "evaluations": 1,
        "teacher": "t", "student": "s", "stage": "prediction", "teacher_dtype": "float32", "padding": "exclude",
        "student_dropout": False, "prediction_target": "teacher",
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({"settings": then, "result": {"score": 1.0}}))
    assert run_module.finished_result(now) == {"score": 1.0}
    # The remedy for a teacher that is refused now is not another setting.
    assert run_module.finished_result(replace(now, allow_weak_teacher=True)) == {"score": 1.0}
    (tmp_path / "run.json").write_text(json.dumps({"settings": then | {"padding": "reference"}, "result": {}}))
    with pytest.raises(InputError, match=r"holds a run with `padding=reference`, this one has None"):
        run_module.finished_result(now)
