"""One command from a teacher to files for the device, and nothing done twice."""

import json
import zipfile
from pathlib import Path

import pytest

from tinybert_tf.data import get_task
from tinybert_tf.data.squad import Answer, SquadExample, write_squad
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.pipeline.run_task import RunTaskSettings, run_task
from tinybert_tf.settings import compose, replace

LABELS = {"negative": 0, "positive": 1}


@pytest.fixture
def settings(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    masked_lm = make_directory("lm", "masked_lm")
    return compose(RunTaskSettings,
        task="sst2", data_dir=str(glue), output_dir=str(tmp_path / "run"), seq_len=16, train_batch_size=8, teacher=str(teacher),
        student="2x16x2x32", masked_lm=str(masked_lm), copies=1, intermediate_epochs=1.0, prediction_epochs=1.0,
        evaluations=1, teacher_dtype="float32",
    )  # fmt: skip


def test_a_task_runs_from_its_teacher_to_the_device_once(settings, glue, tmp_path, caplog):
    first = run_task(settings)
    root = tmp_path / "run"
    again = evaluate_model(
        compose(EvaluateSettings, model_dir=first["model"], task="sst2", data_dir=str(glue), seq_len=16)
    )
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

    caplog.clear()
    assert run_task(settings) == first
    card = (Path(first["model"]) / "README.md").read_text()
    assert "| int8 file | " in card and " ms |" in card and str(tmp_path) not in card
    said = [line for line in caplog.messages if line.startswith("[step")]
    assert len(said) == 7 and all(line.endswith("already done") for line in said)


@pytest.mark.slow
def test_the_user_s_own_columns(settings, make_directory, tmp_path):
    rows = "review,verdict\n" + "".join(f"the film was {w},{w}\n" for w in ("good", "bad") * 6)
    (tmp_path / "rows.csv").write_text(rows)
    teacher = make_directory("mine", "classification", label2id={"bad": 0, "good": 1})
    own = replace(
        settings, task="custom", data_dir=None, teacher=str(teacher), train_file=str(tmp_path / "rows.csv"),
        dev_file=str(tmp_path / "rows.csv"), text_column="review", label_column="verdict",
    )  # fmt: skip
    result = run_task(own)
    assert set(result["metrics"]) == {"accuracy", "macro_f1"}
    assert len((tmp_path / "run" / "predictions" / "predictions.jsonl").read_text().splitlines()) == 12
    augmented = tmp_path / "run" / "augmented" / "custom" / "rows.csv"
    assert len(augmented.read_text().splitlines()) > 13  # the header, the 12 rows, and copies
    trained = json.loads((tmp_path / "run" / "prediction" / "run.json").read_text())
    assert trained["settings"]["train_file"] == str(augmented)


@pytest.mark.slow
def test_questions(settings, make_directory, tmp_path):
    task, context = get_task("squad1"), "the film was good not bad the play was dull"
    questions = [SquadExample(f"q{n}", "was the film good", context, (Answer("good", 13),)) for n in range(12)]
    for split in ("train", "dev"):
        write_squad(tmp_path / "squad" / f"{split}-v1.1.json", questions, task)
    result = run_task(
        replace(
            settings,
            task="squad1",
            data_dir=str(tmp_path / "squad"),
            teacher=str(make_directory("answers", "span")),
            seq_len=24,
        )
    )
    assert set(result["metrics"]) == {"f1", "exact_match"}
    augmented = json.loads((tmp_path / "run" / "augmented" / "SQuAD" / "train-v1.1.json").read_text())
    assert len(augmented["data"][0]["paragraphs"]) > 12
    assert (tmp_path / "run" / "predictions" / "predictions.json").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"learning_rates": "1e-4"},
            "learning_rates=1e-4: is a list for `sweep`, which is not set; set it, or give `pred",
        ),
        ({"copies": 3}, "copies=3: makes none without `masked_lm` or `word_vectors`"),
        ({"sweep": True, "stage": "intermediate"}, "sweep=True: varies the prediction stage"),
    ],
)
def test_settings_without_effect_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        compose(RunTaskSettings, task="sst2", teacher="t", output_dir="o", **given)
