"""Methods are compared at equal steps, each run once, and what cannot be compared is refused before anything trains."""

import csv

import pytest
import yaml

from tinybert_tf.errors import InputError
from tinybert_tf.pipeline import compare as module
from tinybert_tf.pipeline.compare import CompareSettings, compare
from tinybert_tf.pipeline.method import Method
from tinybert_tf.train.distill_settings import DistillSettings


@pytest.fixture
def methods(tmp_path):
    (tmp_path / "both.yaml").write_text("stage: both\nmethod: {paper: {mrpc: 75.6}, augmented: false}\n")
    (tmp_path / "alone.yaml").write_text("method: {program: finetune}\nlearning_rate: 1.0e-4\n")
    return f"{tmp_path}/both.yaml,{tmp_path}/alone.yaml"


@pytest.fixture
def calls(monkeypatch, make_directory):
    """(program, settings) of the runs; each gives a made-up score."""
    model, made = make_directory("student", "classification", label2id={"a": 0, "b": 1}), []

    def call(program, values):
        made.append((program, values))
        if values.get("dry_run"):
            return {"steps": 1000, "minutes": 10.0}
        if values["learning_rate" if program == "finetune" else "prediction_learning_rate"] == 0.5:
            raise FloatingPointError("the loss is not finite")
        return {"score": 0.5 + 0.1 * values["seed"], "model": str(model), "steps": 20}

    monkeypatch.setattr(module, "_call", call)
    return made


def settings(methods, tmp_path, **changes):
    values = {
        "tasks": "mrpc,cola",
        "teacher": "runs/{task}/model",
        "seeds": "0,1",
        "steps": 20,
        "student": "s",
        "seq_len": 16,
        "prediction_learning_rate": 1e-4,
    }
    return CompareSettings(configs=methods, output_dir=str(tmp_path / "out"), **values | changes)


def test_every_method_task_and_seed_is_run_once_with_its_share_of_the_steps(methods, calls, tmp_path):
    result = compare(settings(methods, tmp_path, augmented_data_dir="augmented/{task}"))
    assert len(calls) == 8
    both = next(v for p, v in calls if p == "distill_task" and v["task"] == "cola" and v["seed"] == 1)
    expected = {"teacher": "runs/cola/model", "max_steps": 10, "student": "s", "prediction_learning_rate": 1e-4}
    assert both.items() >= (expected | {"intermediate_epochs": 1000.0, "teacher_cache": "logits"}).items()
    assert "augmented_data_dir" not in both, "its file says that it is without"
    alone = next(v for p, v in calls if p == "finetune" and v["task"] == "cola")
    assert alone.items() >= {"model": "s", "max_steps": 20, "epochs": 1000.0, "learning_rate": 1e-4}.items()
    assert alone["augmented_data_dir"] == "augmented/cola" and "teacher" not in alone

    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["method"] for row in rows] == ["both", "alone", "both", "alone"]
    assert float(rows[0]["score"]) == pytest.approx(0.55)
    assert float(rows[0]["deviation"]) == pytest.approx(0.0707, abs=1e-4)
    assert [row["paper"] for row in rows] == ["75.6", "", "", ""]
    assert float(rows[0]["ms"]) > 0 and (tmp_path / "out" / "results.png").stat().st_size > 1000

    again = compare(settings(methods, tmp_path, augmented_data_dir="augmented/{task}"))
    assert again["rows"][0]["score"] == result["rows"][0]["score"]
    assert len(calls) == 8, "complete runs are not repeated"


def test_equal_minutes_become_steps_by_one_dry_run(methods, calls, tmp_path):
    compare(settings(methods.split(",")[0], tmp_path, tasks="mrpc", steps=None, minutes=2.0))
    assert [values.get("dry_run", False) for _, values in calls] == [True, False, False]
    assert [values.get("max_steps") for _, values in calls] == [None, 100, 100]  # 200 steps in two stages


def test_a_run_that_fails_does_not_stop_the_others(methods, calls, tmp_path):
    (tmp_path / "alone.yaml").write_text("method: {program: finetune}\nlearning_rate: 0.5\n")
    with pytest.raises(InputError, match="2 of 4 runs failed; alone_mrpc_0: the loss is not finite; alone_mrpc_1"):
        compare(settings(methods, tmp_path, tasks="mrpc"))
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["method"] for row in rows] == ["both"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 1.0}, "either `steps` or `minutes`"),
        ({"steps": None, "minutes": 1.0, "processes": 2}, "processes=2: must be 1 with `minutes`"),
        ({"seeds": "one"}, "seeds=one: must be integers"),
        ({"seeds": "0,1,0"}, "seeds=0,1,0: names 0 2 times"),
        ({"tasks": "mrpc,mrpc"}, "tasks=mrpc,mrpc: names mrpc 2 times"),
        ({"student": None}, "alone.yaml fine-tunes a student: give one as `student`"),
    ],
)
def test_bad_settings_are_refused(methods, calls, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        compare(settings(methods, tmp_path, **changes))
    assert not calls


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: {program: format_disk}\n", "program is 'format_disk'"),
        ("method: {papers: 3.0}\n", "method has no entry 'papers'"),
        ("objective: albert\n", "bad.yaml: objective=albert: must be"),
        ("method: {paper: n/a}\n", "bad.yaml: paper is 'n/a', but must be a number"),
        ("method: {paper: {mrpc: good}}\n", "bad.yaml: paper is 'good', but must be a number"),
        ("method: {paper: \udcff}\n", "bad.yaml: not valid YAML"),
        ("temprature: 2.0\n", "bad.yaml: there is no setting 'temprature'"),
        ("temperature: warm\n", "bad.yaml: temperature is 'warm', but must be a number"),
    ],
)
def test_a_file_that_is_no_method_is_refused_before_anything_trains(calls, tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        compare(settings(f"{tmp_path}/bad.yaml", tmp_path))
    with pytest.raises(InputError, match="no such file"):
        Method.read(tmp_path / "absent.yaml", {"distill_task": DistillSettings})
    assert not calls


@pytest.mark.slow
def test_methods_train_side_by_side_in_processes(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id={"negative": 0, "positive": 1})
    short = {"train_batch_size": 8, "evaluations": 1, "allow_weak_teacher": True, "student": "2x12x2x24"}
    for name, values in {
        "kd": {"objective": "vanilla_kd", "stage": "prediction"},
        "cut": {"student": "2xteacher"},
        "soft": {"objective": "bilstm_soft", "stage": "prediction", "student": "bilstm"},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(short | {"init": "random"} | values))
    result = compare(
        CompareSettings(
            configs=f"{tmp_path}/kd.yaml,{tmp_path}/cut.yaml,{tmp_path}/soft.yaml",
            tasks="sst2",
            teacher=str(teacher),
            data_dir=str(glue),
            output_dir=str(tmp_path / "out"),
            steps=4,
            seq_len=16,
            processes=2,
        )
    )
    assert [(row["method"], row["steps"]) for row in result["rows"]] == [("kd", 4), ("cut", 4), ("soft", 4)]
    assert all(row["encoder_flops"] > 0 and row["ms"] > 0 for row in result["rows"])
    kept = {path.name for path in (tmp_path / "out" / "runs" / "cut_sst2_0").iterdir()}
    assert "model" in kept and not kept & {"last", "intermediate", "checkpoints"}


def test_methods_of_one_name_are_refused(methods, calls, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "both.yaml").write_text("stage: both\n")
    with pytest.raises(InputError, match="names both 2 times; a run's name says method, task and seed once"):
        compare(settings(f"{methods},{tmp_path}/other/both.yaml", tmp_path))
    assert not calls


def test_a_run_is_repeated_where_a_file_that_it_reads_has_changed(methods, calls, tmp_path):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "model.safetensors").write_text("one")
    options = {"tasks": "mrpc", "seeds": "0", "teacher": str(teacher)}
    compare(settings(methods, tmp_path, **options))
    left = tmp_path / "out" / "runs" / "both_mrpc_0" / "model"
    left.mkdir(parents=True)
    compare(settings(methods, tmp_path, **options))
    assert len(calls) == 2 and left.exists()
    (teacher / "model.safetensors").write_text("another")
    compare(settings(methods, tmp_path, **options))
    assert len(calls) == 3 and calls[-1][0] == "distill_task", "the fine-tuned student reads no teacher"
    assert not left.exists(), "its program would give the earlier result"


def test_a_run_with_other_steps_is_trained_anew(methods, calls, tmp_path):
    values = {"tasks": "mrpc", "seeds": "0"}
    compare(settings(methods, tmp_path, **values))
    folder = tmp_path / "out" / "runs" / "both_mrpc_0"
    folder.mkdir(parents=True)
    compare(settings(methods, tmp_path, **values))
    assert len(calls) == 2 and folder.is_dir()
    compare(settings(methods, tmp_path, **values, steps=40))
    assert len(calls) == 4 and not folder.is_dir()
