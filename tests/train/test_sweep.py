"""A grid is run once, compared by its means over seeds, and its best model kept."""

import csv
import json

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import sweep as sweep_module
from tinybert_tf.train.sweep import SweepSettings, sweep


def settings(glue, teacher, student, output, **changes):
    return compose(SweepSettings, **{
        "task": "sst2", "data_dir": str(glue), "seq_len": 16, "teacher": str(teacher), "student": str(student),
        "output_dir": str(output), "batch_sizes": "8,16", "learning_rates": "1e-2", "seeds": "0,1", "evaluations": 1,
        "prediction_epochs": 1.0, "teacher_dtype": "float32",
    } | changes)  # fmt: skip


@pytest.mark.slow
def test_a_sweep_keeps_the_best_run_of_the_best_cell_and_resumes(glue, make_directory, tmp_path, monkeypatch):
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=2)
    swept = settings(glue, teacher, student, tmp_path / "sweep")
    runs, distill_task = [], sweep_module.distill_task

    def counted(cell):
        runs.append((cell.examples.train_batch_size, cell.prediction_learning_rate, cell.run.seed))
        if len(runs) == 3:
            raise KeyboardInterrupt
        return distill_task(cell)

    monkeypatch.setattr(sweep_module, "distill_task", counted)
    with pytest.raises(KeyboardInterrupt):
        sweep(swept)
    monkeypatch.setattr(sweep_module, "distill_task", distill_task)
    result = sweep(swept)
    assert runs == [(8, 1e-2, 0), (8, 1e-2, 1), (16, 1e-2, 0)]

    scores = {}
    for folder in (tmp_path / "sweep").glob("batch*"):
        run = json.loads((folder / "run.json").read_text())
        scores[run["settings"]["train_batch_size"], run["seed"]] = run["result"]["score"]
    assert len(scores) == 4
    means = {size: np.mean([scores[size, seed] for seed in (0, 1)]) for size in (8, 16)}
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean accuracy"]) for row in rows] == pytest.approx(
        sorted(means.values(), reverse=True), abs=1e-4
    )
    best = result["train_batch_size"]
    assert means[best] == max(means.values())
    assert result["score"] == max(scores[best, seed] for seed in (0, 1))
    for ours, theirs in zip(
        load_model(result["model"]).get_weights(), load_model(f"{result['run']}/model").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_list_that_is_none_is_refused_by_its_flag(glue, tmp_path):
    with pytest.raises(InputError, match="learning_rates=fast: must be numbers"):
        settings(glue, "t", "s", tmp_path, learning_rates="fast").grid()
    with pytest.raises(InputError, match="learning_rates=1e-5,-1: must be numbers from 0 on"):
        settings(glue, "t", "s", tmp_path, learning_rates="1e-5,-1").grid()


def test_the_intermediate_stage_has_nothing_to_sweep(tmp_path):
    with pytest.raises(InputError, match="stage=intermediate: a sweep varies the prediction stage"):
        sweep(compose(SweepSettings, task="sst2", teacher="t", stage="intermediate", output_dir=str(tmp_path)))


def test_the_run_of_another_program_is_not_replaced(glue, tmp_path):
    (tmp_path / "run.json").write_text('{"settings": {"task": "sst2"}, "result": {}}')
    with pytest.raises(InputError, match="holds a run of another program; name another `output_dir`"):
        sweep(settings(glue, "t", "s", tmp_path))


def test_the_users_own_task_can_be_swept(tmp_path, monkeypatch):
    rows = "text,label\ngood,a\nbad,b\n"
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text(rows)

    def distill_task(cell):
        (tmp_path / cell.run.output_dir / "model").mkdir(parents=True)
        return {"score": cell.prediction_learning_rate}

    monkeypatch.setattr(sweep_module, "distill_task", distill_task)
    files = {"train_file": str(tmp_path / "train.csv"), "dev_file": str(tmp_path / "dev.csv")}
    own = files | {"task": "custom", "text_column": "text", "label_column": "label", "data_dir": None}
    result = sweep(settings(None, "t", "s", tmp_path / "sweep", **own, learning_rates="1e-2,2e-2"))
    assert (result["task"], result["score"]) == ("custom", 2e-2)
    assert set(result["metrics"]) == {"accuracy", "mean", "deviation"}


def test_a_bad_cell_is_refused_before_any_trains(glue, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_module, "distill_task", lambda cell: pytest.fail("a cell was trained"))
    with pytest.raises(InputError, match="train_batch_size=0: must be at least 1"):
        sweep(settings(glue, "t", "s", tmp_path, batch_sizes="8,0"))
