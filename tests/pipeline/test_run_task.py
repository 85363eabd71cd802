"""One command from a teacher to files for the device, and nothing done twice."""

import zipfile

import pytest

from tinybert_tf.evaluate.dev import EvaluateSettings, evaluate_model
from tinybert_tf.pipeline.run_task import RunTaskSettings, run_task

LABELS = {"negative": 0, "positive": 1}


@pytest.fixture
def settings(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    masked_lm = make_directory("lm", "masked_lm")
    return RunTaskSettings(
        task="sst2", data_dir=str(glue), output_dir=str(tmp_path / "run"), seq_len=16, train_batch_size=8, teacher=str(teacher),
        student="2x16x2x32", masked_lm=str(masked_lm), copies=1, intermediate_epochs=1.0, prediction_epochs=1.0,
        evaluations=1, teacher_dtype="float32",
    )  # fmt: skip


def test_a_task_runs_from_its_teacher_to_the_device_once(settings, glue, tmp_path, capsys):
    first = run_task(settings)
    root = tmp_path / "run"
    again = evaluate_model(EvaluateSettings(model_dir=first["model"], task="sst2", data_dir=str(glue), seq_len=16))
    assert again["metrics"] == first["metrics"]
    assert first["retention"] == pytest.approx(first["student_score"] / first["teacher_score"])
    rows = (root / "augmented" / "SST-2" / "train.tsv").read_text().splitlines()
    assert len(rows) > 41  # the header, the 40 rows, and copies
    assert (root / "predictions" / "SST-2.tsv").read_text().count("\n") == 6
    assert zipfile.ZipFile(root / "predictions" / "submission.zip").namelist() == ["SST-2.tsv"]
    assert sorted(file.name for file in (root / "tflite").iterdir()) == [
        "student_float32.tflite", "student_int8.tflite", "teacher_float32.tflite", "teacher_int8.tflite",
    ]  # fmt: skip
    assert "student" in (root / "report.md").read_text()

    capsys.readouterr()
    assert run_task(settings) == first
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[step")]
    assert len(said) == 7 and all(line.endswith("done already") for line in said)
