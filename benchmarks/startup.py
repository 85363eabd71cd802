"""How long programs take until they do something: imports and --help, each in a process of its own, in turn.

python benchmarks/startup.py

The reference is importing TensorFlow alone.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from absl import app, flags
from measuring import REPOSITORY, children_time, compared, in_turn, report

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "measurements of each, in turn; the median is shown")
FOLDERS, NO_PROGRAMS = ("bin", "tflite"), ("common.py",)


def commands() -> dict[str, list[str]]:
    """What is started, by name."""
    found = {
        "import tensorflow": [sys.executable, "-c", "import tensorflow"],
        "import tinybert_tf": [sys.executable, "-c", "import tinybert_tf"],
        "tinybert_tf.Distiller": [sys.executable, "-c", "import tinybert_tf; tinybert_tf.Distiller"],
    }
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).glob("*.py")):
            if path.name not in NO_PROGRAMS:
                found[f"{folder}/{path.name} --help"] = [sys.executable, str(path), "--help"]
    return found


def start(command: Sequence[str]) -> subprocess.CompletedProcess:
    """Runs a command to its end. absl's --help ends with exit code 1."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def main(argv: list[str]) -> None:
    del argv
    functions, notes = {}, {}
    for name, command in commands().items():
        functions[name] = lambda command=command: start(command)
        noise = [line for line in start(command).stderr.splitlines() if line.strip()]
        notes[name] = f"{len(noise)} lines on stderr" if noise else ""
    seconds = in_turn(functions, FLAGS.rounds, warm_up=0, processor_time=children_time)
    report("startup", compared("starting", seconds, 1, "starts", "import tensorflow", notes=notes))


if __name__ == "__main__":
    app.run(main)
