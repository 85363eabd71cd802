"""`--help` of every program: at once, complete, and without importing anything that computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = [
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("bin", "tflite")
    for path in sorted((REPOSITORY / folder).glob("*.py"))
    if path.name != "common.py"
]


def help_of(program: str, tmp_path: Path) -> subprocess.CompletedProcess:
    """Runs a program with --help where importing TensorFlow or Keras would end it."""
    for package in ("tensorflow", "keras"):
        (tmp_path / f"{package}.py").write_text("raise SystemExit('imported')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(REPOSITORY / program), "--help"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_neither_tensorflow_nor_keras(program, tmp_path):
    done = help_of(program, tmp_path)
    assert "--config_file" in done.stdout and not done.stderr, done.stderr
    assert "laceholder" not in done.stdout


def test_help_lists_every_setting(tmp_path):
    from tinybert_tf.corpus import CorpusSettings
    from tinybert_tf.settings import flat_fields

    shown = help_of("bin/make_corpus.py", tmp_path).stdout
    for name, field in flat_fields(CorpusSettings).items():
        assert f"-{name}:" in shown or f"]{name}:" in shown, name
        assert field.metadata["help"].split()[0] in shown
