"""Methods beside each other: configurations x tasks x seeds, at equal steps or equal minutes, as one table and one plot."""

import concurrent.futures
import dataclasses
import itertools
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tinybert_tf.bert import encoder_flops
from tinybert_tf.checkpoints import load_model, read_config
from tinybert_tf.errors import InputError
from tinybert_tf.export import benchmark, export_tflite
from tinybert_tf.files import read_json, write_json
from tinybert_tf.report.methods import write_methods
from tinybert_tf.settings import check_at_least_one, setting

logger = logging.getLogger(__name__)

PROGRAMS = ("distill_task", "finetune")


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """Settings of bin/compare.py."""

    configs: str = setting("", "YAML files of methods, separated by commas; see configs/rivals/", required=True)
    tasks: str = setting("", "tasks, separated by commas", required=True)
    teacher: str = setting("", "the teacher's model directory; {task} stands for the task's name", required=True)
    output_dir: str = setting("", "where everything is written", required=True)
    student: str | None = setting(None, "a student directory or size for the methods whose file names none")
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    seeds: str = setting("0", "random seeds, separated by commas")
    steps: int | None = setting(None, "updates of each run, its stages together")
    minutes: float | None = setting(None, "training minutes of each run on this machine, instead of steps")
    max_train_examples: int | None = setting(None, "use only the first examples of the training sets")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    processes: int = setting(1, "runs at a time; with equal minutes 1, because runs slow each other down")

    def __post_init__(self):
        check_at_least_one(self, "steps", "max_train_examples", "seq_len", "processes")
        if (self.steps is None) == (self.minutes is None):
            raise InputError("give either `steps` or `minutes`: runs are compared at one of them")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError("must be above 0", "minutes", self.minutes)
        if self.minutes is not None and self.processes > 1:
            raise InputError(
                "must be 1 with `minutes`: runs at the same time slow each other down", "processes", self.processes
            )


@dataclasses.dataclass(frozen=True)
class Method:
    """A configuration file: a program and its settings.

    Attributes:
        name: of the file, without its ending.
        path: of the file.
        program: which one is run.
        values: its settings, by name.
        paper: the paper's number, on its own data; None where it has none.
    """

    name: str
    path: Path
    program: str
    values: dict[str, Any]
    paper: float | None

    @classmethod
    def read(cls, path: Path) -> "Method":
        """Reads a file.

        Raises:
            InputError: no such file, no mapping, or an unknown program.
        """
        if not path.is_file():
            raise InputError("no such file", "configs", path)
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise InputError(f"{path}: holds no settings as name: value")
        about = values.pop("method", None) or {}
        program = about.get("program", "distill_task")
        if program not in PROGRAMS:
            raise InputError(f"{path}: program is {program!r}, but must be {' or '.join(PROGRAMS)}")
        return cls(path.stem, path, program, values, about.get("paper"))


@dataclasses.dataclass(frozen=True)
class _Run:
    method: Method
    task: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method.name}_{self.task}_{self.seed}"


def compare(settings: CompareSettings) -> dict:
    """Trains every method on every task with every seed; the RESULT of `bin/compare.py`.

    A run that is complete is not repeated; one that was interrupted is resumed.

    Args:
        settings: of the program.

    Returns:
        `rows`, one for each method and task: score, deviation, seeds, parameters, encoder FLOPs, minutes, int8 milliseconds.

    Raises:
        InputError: files or settings that cannot be used, or the message of a run that failed.
    """
    methods = [Method.read(Path(name.strip())) for name in settings.configs.split(",")]
    tasks = [task.strip() for task in settings.tasks.split(",")]
    try:
        seeds = [int(seed) for seed in settings.seeds.split(",")]
    except ValueError:
        raise InputError("must be integers separated by commas", "seeds", settings.seeds) from None
    runs = [_Run(*each) for each in itertools.product(methods, tasks, seeds)]
    with concurrent.futures.ThreadPoolExecutor(settings.processes) as pool:
        results = {
            run.name: result
            for run, result in zip(runs, pool.map(lambda run: _result(run, settings), runs), strict=True)
        }
    rows = [
        _row(method, task, [results[_Run(method, task, seed).name] for seed in seeds], settings)
        for method, task in itertools.product(methods, tasks)
    ]
    _add_times(rows, settings)
    budget = f"{settings.steps} steps" if settings.steps else f"{settings.minutes:g} minutes"
    write_methods(settings.output_dir, rows, budget)
    best = max(rows, key=lambda row: row["score"])
    return {"task": settings.tasks, "score": best["score"], "metrics": {"score": best["score"]}, "rows": rows}


def _result(run: _Run, settings: CompareSettings) -> dict[str, Any]:
    """The RESULT of one run, from an earlier call or from its program."""
    record = Path(settings.output_dir) / "results" / f"{run.name}.json"
    command = _command(run, settings)
    if record.is_file() and (earlier := read_json(record))["command"] == command:
        logger.info("%s: complete", run.name)
        return earlier["result"]
    steps = settings.steps or _steps_in(settings.minutes, command)
    stages = 2 if run.method.values.get("stage", "both") == "both" and run.method.program == "distill_task" else 1
    logger.info("%s: %d steps", run.name, steps)
    begin = time.perf_counter()
    result = _call([*command, f"--max_steps={max(1, steps // stages)}", *_long_enough(run)])
    result["minutes"] = (time.perf_counter() - begin) / 60
    write_json(record, {"command": command, "result": result})
    logger.info("%s: %.4f", run.name, result["score"])
    return result


def _command(run: _Run, settings: CompareSettings) -> list[str]:
    teacher = settings.teacher.replace("{task}", run.task)
    values = {name: value for name, value in run.method.values.items() if value is not None}
    if run.method.program == "finetune":
        values["model"] = values.get("model") or settings.student
        if not values["model"]:
            raise InputError(f"{run.method.path} fine-tunes a student: give one as `student`")
    else:
        values |= {"teacher": teacher, "student": values.get("student") or settings.student or "tinybert4"}
    values |= {"task": run.task, "seed": run.seed, "output_dir": str(Path(settings.output_dir) / "runs" / run.name)}
    for name in ("data_dir", "max_train_examples", "seq_len"):
        if getattr(settings, name) is not None:
            values[name] = getattr(settings, name)
    flags = [f"--{name}={value}" for name, value in values.items()]
    return [*_command_prefix(), run.method.program, "--quiet", *flags]


def _command_prefix() -> list[str]:
    return [sys.executable, "-m", "tinybert_tf.cli"]


def _long_enough(run: _Run) -> list[str]:
    """Epochs that `max_steps` and not the data ends."""
    names = ["epochs"] if run.method.program == "finetune" else ["intermediate_epochs", "prediction_epochs"]
    return [f"--{name}=1000" for name in names if name not in run.method.values]


def _steps_in(minutes: float, command: list[str]) -> int:
    """How many steps of a run take so long, by a dry run."""
    planned = _call([*command, "--dry_run"])
    return max(1, round(planned["steps"] * minutes / planned["minutes"]))


def _call(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise InputError(f"{' '.join(command[3:])}: {(errors or lines or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))


def _row(method: Method, task: str, results: list[dict], settings: CompareSettings) -> dict[str, Any]:
    scores = [result["score"] for result in results]
    row = {
        "method": method.name,
        "task": task,
        "score": float(np.mean(scores)),
        "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "seeds": len(scores),
        "paper": method.paper,
        "steps": results[0].get("steps"),
        "minutes": float(np.mean([result["minutes"] for result in results])),
        "model": results[0]["model"],
    }
    config, _ = read_config(row["model"])
    row["parameters"] = load_model(row["model"]).count_params()
    row["encoder_flops"] = encoder_flops(config, settings.seq_len or 128)
    return row


def _add_times(rows: list[dict[str, Any]], settings: CompareSettings) -> None:
    """Adds the int8 file's median milliseconds, all files taking turns in one run."""
    files = []
    for row in rows:
        path = Path(settings.output_dir) / "tflite" / f"{row['method']}_{row['task']}.tflite"
        if not path.is_file():
            export_tflite(row["model"], path, seq_len=settings.seq_len or 128, quantize="dynamic")
        files.append(str(path))
    for row, report in zip(rows, benchmark(files), strict=True):
        row |= {"mb": report.mb, "ms": report.median_ms}
