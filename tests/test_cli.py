"""One console command for all programs, in a checkout and in a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinybert_cli as cli

REPOSITORY = Path(__file__).resolve().parents[1]
# Without the quiet that the tests ask of TensorFlow.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | {
    "PYTHONPATH": str(REPOSITORY)
}


def tinybert(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "tinybert_cli", *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT
    )


def test_every_program_has_a_command_and_a_line():
    programs = {p for folder in ("bin", "tflite") for p in (REPOSITORY / folder).glob("*.py") if p.name != "common.py"}
    assert set(cli.commands().values()) == programs
    assert all(f"  {name} " in cli.summary() for name in cli.commands())
    assert cli.commands()["evaluate_tflite"] == REPOSITORY / "tflite" / "evaluate.py"


def test_an_unknown_command_is_one_line():
    done = tinybert("distill")
    assert done.returncode == 1 and done.stderr.startswith("error: no command 'distill'; there are augment")


def test_a_command_is_its_program(tmp_path):
    done = tinybert("describe", "--task=sample", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("RESULT {")
    assert "external/local_xla" not in done.stderr  # TensorFlow's own log


def test_the_help_of_a_command_does_not_import_tensorflow():
    code = "import sys, tinybert_cli; sys.argv = ['tinybert', 'finetune', '--help']; tinybert_cli.main()"
    code = f"import atexit, sys\natexit.register(lambda: print('tensorflow.python' in sys.modules))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert "--learning_rate" in done.stdout + done.stderr and done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_importing_the_package_takes_no_package_of_a_single_step():
    code = "import sys, tinybert_tf; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rare = {
        "apache_beam",
        "keras_hub",
        "mediapipe",
        "onnxruntime",
        "tensorflow_datasets",
        "tokenizers",
        "torch",
        "transformers",
    }
    assert "tinybert_tf" in loaded and not rare & set(loaded)


@pytest.mark.slow
def test_a_wheel_holds_programs_and_configurations(tmp_path):
    """Built from a copy, so that no build directory is left in the checkout."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for name in (
        "programs/bin/finetune.py",
        "programs/bin/common.py",
        "programs/tflite/convert.py",
        "configs/task/sst2.yaml",
        "py.typed",
    ):
        assert f"tinybert_tf/{name}" in names
    assert "tinybert_cli.py" in names
