"""The quickstart on a small task, with a small pretrained teacher and with none."""

import json

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.pipeline import quickstart as module
from tinybert_tf.pipeline.quickstart import QuickstartSettings, quickstart, verdict_of
from tinybert_tf.settings import compose


def settings(glue, output, **changes):
    return compose(QuickstartSettings,
        **{
            "task": "sst2", "data_dir": str(glue), "output_dir": str(output), "seq_len": 16, "train_batch_size": 8,
            "teacher_epochs": 1.0, "general_epochs": 1.0, "masked_lm_epochs": 1.0, "copies": 1, "evaluations": 1,
            "intermediate_epochs": 1.0, "prediction_epochs": 1.0, "max_steps": 4,
        } | changes
    )  # fmt: skip


@pytest.mark.slow
def test_everything_is_trained_measured_and_reported(glue, make_directory, tmp_path, caplog):
    pretrained = make_directory(
        "pretrained", "encoder", hidden_size=252, num_attention_heads=12, intermediate_size=1000
    )
    result = quickstart(settings(glue, tmp_path / "run", teacher=str(pretrained)))
    assert result["student_params"] < result["teacher_params"]
    assert result["retention"] == pytest.approx(result["student_score"] / result["teacher_score"])
    assert result["int8_mb"] < result["float_mb"]
    names = ("general", "student", "no_teacher")
    steps = [json.loads((tmp_path / "run" / name / "run.json").read_text())["result"]["steps"] for name in names]
    assert steps == [1, 8, 1 + 8], "without a teacher: as many steps as with one in all stages"
    report = (tmp_path / "run" / "report.html").read_text()
    verdict = result["verdict"]
    assert verdict.endswith(f"counting words {100 * result['word_score']:.1f}")
    assert verdict[0].upper() + verdict[1:] in report and "TF-IDF" in report

    caplog.clear()
    assert quickstart(settings(glue, tmp_path / "run", teacher=str(pretrained))) == result
    said = [line for line in caplog.messages if line.startswith("[step")]
    assert said and all(line.endswith("already done") for line in said)


@pytest.mark.slow
def test_without_a_pretrained_teacher_one_learns_from_the_text(glue, tmp_path, caplog, monkeypatch):
    def missing(name):
        raise InputError("is not installed", "teacher", name)

    monkeypatch.setattr(module, "resolve_directory", missing)
    result = quickstart(settings(glue, tmp_path / "run"))
    assert "no pretrained teacher" in caplog.text
    assert (tmp_path / "run" / "pretrained" / "model" / "model.safetensors").is_file()
    assert 0 <= result["student_score"] <= 1


def test_a_teacher_that_is_named_and_missing_is_an_error(glue, tmp_path):
    with pytest.raises(InputError, match="teacher=.*nowhere: no such"):
        quickstart(settings(glue, tmp_path / "run", teacher=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("task", ["squad1", "custom"])
def test_a_task_that_it_cannot_run_is_refused_at_once(glue, tmp_path, task):
    with pytest.raises(InputError, match=f"task={task}: the quickstart takes GLUE's tasks.*run_task"):
        quickstart(settings(glue, tmp_path / "run", task=task))
    assert not (tmp_path / "run").exists()


def test_the_verdict_says_what_the_teacher_was_worth():
    rows = [{"score": score} for score in (0.97, 0.93, 0.8)]
    said = "the student scores 93.0, the same network, trained as long without a teacher, 80.0, counting words 62.0"
    assert verdict_of(rows, 0.62) == f"the teacher is worth 13.0 points: {said}"
    rows[1]["score"] = 0.8
    assert verdict_of(rows, 0.62).startswith("the teacher did not help: the student scores 80.0")
