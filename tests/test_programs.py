"""What all programs share."""

import json
import subprocess
import sys
from pathlib import Path

from tinybert_tf.evaluate.evaluate import EvaluateSettings
from tinybert_tf.settings import flat_fields

ROOT = Path(__file__).resolve().parents[1]


def test_help_lists_every_setting():
    shown = subprocess.run([sys.executable, ROOT / "bin/evaluate.py", "--help"], capture_output=True, text=True)
    for name in ("config_file", "params_override", *flat_fields(EvaluateSettings)):
        assert f"--{name}:" in shown.stdout or f"--[no]{name}:" in shown.stdout


def test_an_override_says_when_a_value_needs_quotes():
    for override in ("output_dir=a,layer_map=1,2", "output_dir=a,layer_map=%1,2"):
        command = [sys.executable, ROOT / "bin/evaluate.py", f"--params_override={override}"]
        shown = subprocess.run(command, capture_output=True, text=True)
        assert shown.returncode == 1 and "a value with a comma or another sign needs quotes" in shown.stderr
        assert "Traceback" not in shown.stderr


def test_every_program_reads_its_settings_the_same_way():
    programs = [path for path in [*ROOT.glob("bin/*.py"), *ROOT.glob("tflite/*.py")] if path.name != "common.py"]
    assert len(programs) > 10
    for path in programs:
        assert "    common.run(" in path.read_text(), path.name


# What programs share is imported once; each then starts in a fork of that process. `--help` runs nothing of TensorFlow's.
_START = """
import importlib, json, os, runpy, sys, tempfile, traceback
sys.path.insert(0, os.getcwd())
os.environ["KERAS_BACKEND"] = "tensorflow"
for room in ("pipeline", "corpus", "augmentation", "report", "export"):
    importlib.import_module(f"tinybert_tf.{room}")

outcomes = {}
for program in sys.argv[1:]:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.argv[:] = [program, "--help"]
            sys.path.insert(0, os.path.dirname(program))
            code = 0
            try:
                runpy.run_path(program, run_name="__main__")
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # an interpreter that imported TensorFlow takes four seconds to tear down
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        outcomes[program] = [code, output.read()]
print(json.dumps(outcomes))
"""


def test_every_program_starts():
    """Imports that fail and names that are gone are found here, whatever else is installed."""
    rooms = ("bin", "tflite", "tflite/android", "benchmarks")
    files = [path for room in rooms for path in sorted((ROOT / room).glob("*.py")) if path.name != "common.py"]
    programs = [str(path) for path in files if "__main__" in path.read_text(encoding="utf-8")]
    assert len(programs) >= 20
    process = subprocess.run([sys.executable, "-c", _START, *programs], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    outcomes = json.loads(process.stdout.splitlines()[-1])
    assert outcomes.keys() == set(programs)
    for program, (code, output) in outcomes.items():
        assert code in (0, 1) and "Traceback" not in output, f"{program} --help: exit code {code}\n{output}"
        assert output.strip(), f"{program} --help prints nothing"
