"""Runs a program of the documentation as it is written there, but on a few steps.

python run_reduced.py bin/finetune.py --task=sst2 ...
"""

import runpy
import sys
from pathlib import Path

STEPS = {"max_steps": "2", "train_batch_size": "8", "evaluations": "1"}
TINY = {"allow_weak_teacher": "true"}  # a teacher of two steps is one
ROWS = {"max_train_examples": "64"}
REDUCED = {
    "finetune": STEPS | ROWS,
    "distill_task": STEPS | ROWS | TINY,
    "sweep": STEPS | ROWS | TINY | {"batch_sizes": "8", "learning_rates": "1e-4"},
    "run_task": STEPS | ROWS | TINY | {"batch_sizes": "8", "learning_rates": "1e-4", "copies": "1"},
    "quickstart": STEPS | ROWS,
    "distill_general": STEPS,
    "pretrain": STEPS,
    "augment": ROWS | {"copies": "1"},
    "compare": {"steps": "2"} | ROWS,
    "frontier": STEPS | ROWS,
}
NAMES = {"minilm_l6": "TEACHER", "mpnet_base": "TEACHER"}


def reduced(program: str, arguments: list[str]) -> list[str]:
    """The arguments with pretrained models replaced by a tiny one and with few steps."""
    for name, stand_in in NAMES.items():
        arguments = [argument.replace(f"={name}", f"={stand_in}") for argument in arguments]
    if program.endswith("tflite/evaluate.py"):
        arguments = [*arguments, "--max_drop=1"]
    return arguments + [f"--{name}={value}" for name, value in REDUCED.get(Path(program).stem, {}).items()]


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    sys.argv = [program, *reduced(program, arguments)]
    sys.path.insert(0, str(Path(program).resolve().parent))
    runpy.run_path(program, run_name="__main__")
