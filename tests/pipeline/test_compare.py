"""Methods are compared at equal steps, each run once, and what cannot be compared is refused before anything trains."""

import csv

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.pipeline import compare as module
from tinybert_tf.pipeline.compare import CompareSettings, Method, compare


@pytest.fixture
def methods(tmp_path):
    (tmp_path / "both.yaml").write_text("stage: both\nmethod: {paper: 75.6}\n")
    (tmp_path / "alone.yaml").write_text("method: {program: finetune}\nlearning_rate: 1.0e-4\n")
    return f"{tmp_path}/both.yaml,{tmp_path}/alone.yaml"


@pytest.fixture
def calls(monkeypatch, make_directory):
    """The commands that were run; each gives a made-up score."""
    model, commands = make_directory("student", "classification", label2id={"a": 0, "b": 1}), []

    def call(command):
        commands.append(command)
        if command[-1] == "--dry_run":
            return {"steps": 1000, "minutes": 10.0}
        seed = next(int(flag.partition("=")[2]) for flag in command if flag.startswith("--seed="))
        return {"score": 0.5 + 0.1 * seed, "model": str(model), "steps": 20}

    monkeypatch.setattr(module, "_call", call)
    return commands


def settings(methods, tmp_path, **changes):
    values = {
        "tasks": "mrpc,cola",
        "teacher": "runs/{task}/model",
        "seeds": "0,1",
        "steps": 20,
        "student": "s",
        "seq_len": 16,
    }
    return CompareSettings(configs=methods, output_dir=str(tmp_path / "out"), **values | changes)


def test_every_method_task_and_seed_is_run_once_with_its_share_of_the_steps(methods, calls, tmp_path):
    result = compare(settings(methods, tmp_path))
    assert len(calls) == 8
    both = next(c for c in calls if "distill_task" in c and "--task=cola" in c and "--seed=1" in c)
    assert {"--teacher=runs/cola/model", "--max_steps=10", "--student=s", "--intermediate_epochs=1000"} <= set(both)
    alone = next(c for c in calls if "finetune" in c)
    assert {"--model=s", "--max_steps=20", "--epochs=1000"} <= set(alone) and not any("teacher" in f for f in alone)

    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["method"] for row in rows] == ["both", "both", "alone", "alone"]
    assert float(rows[0]["score"]) == pytest.approx(0.55) and float(rows[0]["deviation"]) == pytest.approx(
        0.0707, abs=1e-4
    )
    assert (
        rows[0]["paper"] == "75.6"
        and float(rows[0]["ms"]) > 0
        and (tmp_path / "out" / "results.png").stat().st_size > 1000
    )

    assert compare(settings(methods, tmp_path))["rows"][0]["score"] == result["rows"][0]["score"]
    assert len(calls) == 8, "complete runs are not repeated"


def test_equal_minutes_become_steps_by_a_dry_run(methods, calls, tmp_path):
    compare(settings(methods.split(",")[0], tmp_path, seeds="0", tasks="mrpc", steps=None, minutes=2.0))
    assert calls[0][-1] == "--dry_run" and "--max_steps=100" in calls[1]  # 200 steps in two stages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 1.0}, "either `steps` or `minutes`"),
        ({"steps": None, "minutes": 1.0, "processes": 2}, "processes=2: must be 1 with `minutes`"),
        ({"seeds": "one"}, "seeds=one: must be integers"),
    ],
)
def test_bad_settings_are_refused(methods, calls, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        compare(settings(methods, tmp_path, **changes))
    assert not calls


def test_a_file_that_is_no_method_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text("method: {program: format_disk}\n")
    with pytest.raises(InputError, match="program is 'format_disk'"):
        Method.read(tmp_path / "bad.yaml")
    with pytest.raises(InputError, match="no such file"):
        Method.read(tmp_path / "absent.yaml")


def test_a_run_that_fails_passes_on_its_message(tmp_path):
    with pytest.raises(InputError, match="finetune.*task"):
        module._call([*module._command_prefix(), "finetune", "--output_dir=x"])
