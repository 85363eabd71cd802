"""`bin/prune.py` as it is called."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("eagerly")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program():
    """A function that runs the program: arguments -> (exit code, last line of what it printed)."""

    def run(*arguments):
        process = subprocess.run(
            [sys.executable, ROOT / "bin" / "prune.py", *arguments], capture_output=True, text=True, cwd=ROOT
        )
        errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in process.stderr
        return process.returncode, errors[0] if errors else process.stdout.splitlines()[-1]

    return run


def test_it_writes_a_smaller_model_directory(model_dir, texts, program, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    code, line = program(
        f"--model_dir={model_dir()}", f"--output_dir={tmp_path / 'small'}", "--vocab_size=60",
        f"--text_file={tmp_path / 'texts.txt'}", f"--teacher={model_dir('teacher')}",
    )  # fmt: skip
    result = json.loads(line.removeprefix("RESULT "))
    assert code == 0 and result["vocab_size"] == 60 and result["parameters"] > 0
    assert result["coverage"]["pieces_per_word_before"] <= result["coverage"]["pieces_per_word_after"]
    assert (tmp_path / "small" / "config.json").is_file() and (tmp_path / "small" / "teacher" / "vocab.txt").is_file()


def test_bad_input_is_one_line(model_dir, program, tmp_path):
    common = [f"--model_dir={model_dir()}", f"--output_dir={tmp_path / 'small'}", "--vocab_size=60"]
    code, line = program(*common)
    assert code == 1 and line.startswith("error: --text_file is missing") and "`" not in line
    code, line = program(*common, "--text_file=x.txt", "--label_column=stars")
    assert code == 1 and line.startswith("error: --label_column=stars: is read with --task alone, which is missing")
    assert not (tmp_path / "small").exists()
