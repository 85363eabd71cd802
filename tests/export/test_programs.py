"""The programs in tflite/ work from flags to the result line, and say what is wrong in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(program, *flags):
    command = [sys.executable, f"tflite/{program}.py", *flags]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def result(process):
    assert process.returncode == 0, process.stderr
    last = process.stdout.strip().splitlines()[-1]
    assert last.startswith("RESULT ")
    return json.loads(last.removeprefix("RESULT "))


def test_convert_evaluate_benchmark(model_dir, tmp_path):
    from tinybert_tf.checkpoints import load_model, save_model

    folder = tmp_path / "model"
    model = load_model(model_dir(), label2id={"negative": 0, "positive": 1})
    save_model(model, folder, tokenizer_from=model_dir())
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "dev.tsv").write_text("sentence\tlabel\nfilm w1\t1\nw2\t0\n")
    files = [f"{tmp_path}/{mode}.tflite" for mode in ("none", "dynamic")]
    for file, mode in zip(files, ("none", "dynamic"), strict=True):
        converted = result(
            run("convert", f"--model_dir={folder}", f"--output={file}", "--seq_len=12", f"--quantize={mode}")
        )
        assert (converted["path"], converted["quantize"], converted["seq_len"]) == (file, mode, 12)
        assert converted["mb"] > 0

    (tmp_path / "SST-2" / "train.tsv").write_text("sentence\tlabel\nw3 w4 film\t1\nw5\t0\n")
    flags = (f"--model_dir={folder}", f"--output={tmp_path}/auto.tflite", "--seq_len=8,12", "--quantize=auto")
    chosen = result(run("convert", *flags, "--task=sst2", f"--data_dir={tmp_path}", "--max_drop=1"))
    assert (chosen["seq_len"], chosen["seq_lens"]) == (12, [12, 8])
    assert chosen["mb"] == min(trial["mb"] for trial in chosen["trials"])
    assert chosen["delegated"] + len(chosen["not_delegated"]) == chosen["nodes"]
    refused = run("convert", *flags, "--task=sst2", f"--data_dir={tmp_path}", "--max_mb=0.001")
    assert refused.returncode == 1
    assert "no mode holds" in refused.stderr and "max_mb" in refused.stdout

    flags = (f"--model={files[0]}", f"--model_dir={folder}", "--task=sst2", f"--data_dir={tmp_path}")
    scored = result(run("evaluate", *flags, "--max_drop=0.01"))
    assert scored["drop"] == scored["keras_score"] - scored["tflite_score"] == 0
    assert scored["max_logit_error"] < 1e-4
    refused = run("evaluate", *flags, "--max_drop=-1")
    assert refused.returncode == 1
    assert "--max_drop=-1.0 allows less" in refused.stderr and "Traceback" not in refused.stderr

    flags = (f"--models={tmp_path}/./none.tflite,{files[1]}", "--threads=1,2", "--runs=3")
    scored = ("--task=sst2", f"--data_dir={tmp_path}", f"--output_dir={tmp_path}/card")
    rows = result(run("benchmark", *flags, *scored))["models"]
    assert {path.suffix for path in (tmp_path / "card").iterdir()} == {".md", ".csv", ".png", ".json"}
    assert rows[0]["score"] in (0.0, 0.5, 1.0) and rows[0]["drop"] == 0 and "score" in rows[1]
    assert [(row["path"], row["threads"]) for row in rows] == [(f, t) for t in (1, 2) for f in files]
    assert {"path", "mb", "threads", "seq", "median_ms", "p90_ms"} <= rows[0].keys()


def own_files(model_dir, folder):
    """A custom classifier directory with its files, and a tagger's: (model, flags) each. Files begin with a byte order mark."""
    from tinybert_tf.checkpoints import load_model, save_model

    labels = [f"class {number}" for number in range(119)]
    rows = [f"w{number % 60} film,{label}\n" for number, label in enumerate(labels)]
    (folder / "train.csv").write_text("review,kind\n" + "".join(rows), encoding="utf-8-sig")
    (folder / "dev.csv").write_text("review,kind\n" + "".join(rows[:20]), encoding="utf-8-sig")
    words = "".join(f"w{number} {('O', 'B-x')[number % 2]}\n" + "\n" * (number % 5 == 4) for number in range(30))
    (folder / "train.conll").write_text(words, encoding="utf-8-sig")
    kinds = {
        "custom": ("classification", dict(zip(sorted(labels), range(119), strict=True)), "csv"),
        "token_classification": ("token_classification", {"B-x": 0, "O": 1}, "conll"),
    }
    flags = {}
    for task, (head, label2id, suffix) in kinds.items():
        save_model(load_model(model_dir(head), label2id=label2id), folder / task, tokenizer_from=model_dir(head))
        dev = "dev.csv" if suffix == "csv" else "train.conll"
        flags[task] = [f"--task={task}", f"--train_file={folder}/train.{suffix}", f"--dev_file={folder}/{dev}"]
    flags["custom"] += ["--text_column=review", "--label_column=kind"]
    return {task: (folder / task, given) for task, given in flags.items()}


@pytest.mark.parametrize("task", ["custom", "token_classification"])
def test_own_data_reaches_the_phone(task, model_dir, tmp_path):
    folder, flags = own_files(model_dir, tmp_path)[task]
    file = f"{tmp_path}/own.tflite"
    convert = (f"--model_dir={folder}", f"--output={file}", "--seq_len=16", "--quantize=auto", "--max_drop=1")
    chosen = result(run("convert", *convert, *flags))
    assert len(chosen["trials"]) > 3 and chosen["calibrated"]
    scored = result(run("evaluate", f"--model={file}", f"--model_dir={folder}", "--max_drop=1", *flags))
    assert scored["tflite_score"] == next(trial["score"] for trial in chosen["trials"] if trial["chosen"])
    rows = result(run("benchmark", f"--models={file}", "--runs=2", *flags))["models"]
    assert rows[0]["score"] == scored["tflite_score"]
    lacking = run("evaluate", f"--model={file}", f"--model_dir={folder}", f"--task={task}")
    assert lacking.returncode == 1 and "--dev_file is missing" in lacking.stderr


@pytest.mark.parametrize(
    ("program", "flags", "message"),
    [
        ("convert", ("--model_dir=nowhere", "--output=a.tflite"), "--model_dir=nowhere: no such model directory"),
        (
            "convert",
            ("--model_dir=nowhere", "--output=a.tflite", "--max_drop=0.1"),
            "--max_drop=0.1: limits what --quantize=auto may choose, not --quantize=dynamic",
        ),
        (
            "convert",
            ("--model_dir=nowhere", "--output=a.tflite", "--max_mb=3"),
            "--max_mb=3.0: limits what --quantize=auto may choose, not --quantize=dynamic",
        ),
        (
            "convert",
            ("--model_dir=x", "--output=a.tflite", "--quantize=auto", "--task=sst2", "--calibration_file=nowhere"),
            "--calibration_file=nowhere: no such file",
        ),
        (
            "convert",
            ("--model_dir=x", "--output=a.tflite", "--quantize=float16", "--calibration_file=nowhere"),
            "--calibration_file=nowhere: calibrates integer weights, which --quantize=float16 has not",
        ),
        (
            "convert",
            ("--model_dir=x", "--output=a.tflite", "--quantize=int8", "--train_file=own.csv"),
            "--train_file=own.csv: is read with --task alone, which is missing",
        ),
        ("evaluate", ("--model=nowhere.tflite", "--model_dir=x", "--task=sst2"), "nowhere.tflite: no such file"),
        ("benchmark", ("--models=nowhere.tflite", "--threads=one"), "--threads=one: must be integers"),
    ],
)
def test_bad_input_is_one_line(program, flags, message):
    process = run(program, *flags)
    assert process.returncode == 1
    assert message in process.stderr
    assert "Traceback" not in process.stderr
