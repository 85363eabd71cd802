"""What all programs share."""

import dataclasses
import subprocess
import sys
from pathlib import Path

from tinybert_tf.evaluate.evaluate import EvaluateSettings

ROOT = Path(__file__).resolve().parents[1]


def test_help_lists_every_setting():
    shown = subprocess.run([sys.executable, ROOT / "bin/evaluate.py", "--help"], capture_output=True, text=True)
    for name in ("config_file", "params_override", *(field.name for field in dataclasses.fields(EvaluateSettings))):
        assert f"--{name}:" in shown.stdout


def test_every_program_reads_its_settings_the_same_way():
    programs = [path for path in [*ROOT.glob("bin/*.py"), *ROOT.glob("tflite/*.py")] if path.name != "common.py"]
    assert len(programs) > 10
    for path in programs:
        assert "    common.run(" in path.read_text(), path.name
