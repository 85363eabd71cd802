"""Compares methods: configurations x tasks x seeds, at equal steps or equal minutes, as one table and one plot."""

import dataclasses
import gc
import itertools
import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tinybert_tf.bert import encoder_flops, size_of
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data import TASKS
from tinybert_tf.data.settings import DATA_DIR_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.export import benchmark, export_tflite
from tinybert_tf.files import read_json, remove, write_json
from tinybert_tf.pipeline.method import Method
from tinybert_tf.pipeline.steps import data_files, identity
from tinybert_tf.processes import map_in_processes
from tinybert_tf.report.methods import write_methods
from tinybert_tf.settings import check_at_least_one, check_positive, compose, setting
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune

logger = logging.getLogger(__name__)

PROGRAMS: dict[str, tuple[type, Callable[[Any], dict]]] = {
    "distill_task": (DistillSettings, distill_task),
    "finetune": (FinetuneSettings, finetune),
}
# What a run keeps beside its model: a hundred runs would fill a disk with it.
_NOT_KEPT = ("last", "intermediate")
_EVALUATIONS = 3
# Settings that name what a run reads beside its task's files.
_READ = ("teacher", "student", "model", "augmented_data_dir")


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """Settings of bin/compare.py."""

    configs: str = setting("", "YAML files of methods, separated by commas; see configs/rivals/", required=True)
    tasks: str = setting("", "tasks, separated by commas", required=True)
    teacher: str = setting("", "the teacher's model directory; {task} stands for the task's name", required=True)
    output_dir: str = setting("", "where everything is written", required=True)
    student: str | None = setting(None, "a student directory or size for the methods whose file names none")
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    augmented_data_dir: str | None = setting(
        None, "training sets for all methods but those without data augmentation; {task} stands for the task's name"
    )
    seeds: str = setting("0", "random seeds, separated by commas")
    steps: int | None = setting(None, "updates of each run, its stages together")
    minutes: float | None = setting(None, "training minutes of each run on this machine, instead of steps")
    max_train_examples: int | None = setting(None, "use only the first examples of the training sets")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    intermediate_learning_rate: float | None = setting(None, "of methods whose file gives none; absent: the program's")
    prediction_learning_rate: float | None = setting(None, "of methods whose file gives none; absent: the program's")
    processes: int = setting(1, "runs at a time; with equal minutes 1, because runs slow each other down")

    def __post_init__(self):
        check_at_least_one(self, "steps", "max_train_examples", "seq_len", "processes")
        if (self.steps is None) == (self.minutes is None):
            raise InputError("give either `steps` or `minutes`: runs are compared at one of them")
        check_positive(self, "minutes")
        if self.minutes is not None and self.processes > 1:
            raise InputError(
                "must be 1 with `minutes`: runs at the same time slow each other down", "processes", self.processes
            )


@dataclasses.dataclass(frozen=True)
class _Run:
    """One training run.

    Attributes:
        name: of the run.
        method: what trains.
        task: on which task.
        values: settings of the program, without the number of steps.
        root: of the comparison.
        files: the state of the files that it reads, by name, see `steps.identity`.
        steps: updates; None for as many as `minutes` allow.
        minutes: of training.
    """

    name: str
    method: Method
    task: str
    values: dict[str, Any]
    root: Path
    files: dict[str, list]
    steps: int | None
    minutes: float | None


def compare(settings: CompareSettings) -> dict:
    """Trains every method on every task with every seed; the RESULT of `bin/compare.py`.

    A run that is complete is not repeated; one that was interrupted is resumed. One that fails does not stop the others.

    Args:
        settings: of the program.

    Returns:
        `rows`, one for each method and task: score, deviation, seeds, parameters, encoder FLOPs, minutes, milliseconds of
        the `dynamic` file.

    Raises:
        InputError: files or settings that cannot be used; at the end, the messages of runs that failed.
    """
    classes = {name: settings_class for name, (settings_class, _) in PROGRAMS.items()}
    methods = [Method.read(Path(name.strip()), classes) for name in settings.configs.split(",")]
    tasks = [task.strip() for task in settings.tasks.split(",")]
    try:
        seeds = [int(seed) for seed in settings.seeds.split(",")]
    except ValueError:
        raise InputError("must be integers separated by commas", "seeds", settings.seeds) from None
    for name, values in (("configs", [method.name for method in methods]), ("tasks", tasks), ("seeds", seeds)):
        if repeated := [value for value in values if values.count(value) > 1]:
            message = (
                f"names {repeated[0]} {values.count(repeated[0])} times; a run's name says method, task and seed once"
            )
            raise InputError(message, name, getattr(settings, name))
    # By task, so that a table that is interrupted has whole tasks.
    runs = [_run(method, task, seed, settings) for task, seed, method in itertools.product(tasks, seeds, methods)]
    results, failures = {}, []
    for number, (name, result, failure) in enumerate(map_in_processes(_result, runs, settings.processes), 1):
        if failure:
            failures.append(f"{name}: {failure}")
            logger.error("[%d/%d] %s failed: %s", number, len(runs), name, failure)
        else:
            results[name] = result
            logger.info("[%d/%d] %s  %.4f  %.1f min", number, len(runs), name, result["score"], result["minutes"])
    rows = []
    for task, method in itertools.product(tasks, methods):
        names = [_name(method, task, seed) for seed in seeds]
        if found := [results[name] for name in names if name in results]:
            rows.append(_row(method, task, found, settings))
    if rows:
        _add_times(rows, settings)
        count, unit = (settings.steps, "step") if settings.steps else (settings.minutes, "minute")
        budget = f"{count:g} {unit}{'' if count == 1 else 's'}"
        write_methods(settings.output_dir, rows, budget)
    if failures:
        raise InputError(f"{len(failures)} of {len(runs)} runs failed; {'; '.join(failures)}")
    remove(Path(settings.output_dir) / "cache")
    best = max(rows, key=lambda row: row["score"])
    return {"task": settings.tasks, "score": best["score"], "metrics": {"score": best["score"]}, "rows": rows}


def _name(method: Method, task: str, seed: int) -> str:
    return f"{method.name}_{task}_{seed}"


def _run(method: Method, task: str, seed: int, settings: CompareSettings) -> _Run:
    """A run with all its settings, which are checked here: before anything trains.

    Raises:
        InputError: settings that do not fit each other.
    """
    root, name = Path(settings.output_dir), _name(method, task, seed)
    teacher = settings.teacher.replace("{task}", task)
    values = dict(method.values)
    if method.program == "finetune":
        values["model"] = values.get("model") or settings.student
        if not values["model"]:
            raise InputError(f"{method.path} fine-tunes a student: give one as `student`")
        if size_of(values["model"]) and not Path(values["model"]).is_dir():  # random weights
            values["vocab"] = values.get("vocab") or str(resolve_directory(teacher) / "vocab.txt")
    else:
        values |= {"teacher": teacher, "student": values.get("student") or settings.student or "tinybert4"}
        rates = ("intermediate_learning_rate", "prediction_learning_rate")
        rates = {name: rate for name in rates if (rate := getattr(settings, name)) is not None}
        values = {"teacher_cache": "logits"} | rates | values
    if settings.augmented_data_dir and method.is_augmented:
        values["augmented_data_dir"] = settings.augmented_data_dir.replace("{task}", task)
    values = {"evaluations": _EVALUATIONS} | values
    values |= {"task": task, "seed": seed, "output_dir": str(root / "runs" / name)}
    for key in ("data_dir", "max_train_examples", "seq_len"):
        if getattr(settings, key) is not None:
            values[key] = getattr(settings, key)
    # Epochs that the number of steps and not the data ends.
    stages = ("epochs",) if method.program == "finetune" else ("intermediate_epochs", "prediction_epochs")
    values = dict.fromkeys(stages, 1000.0) | values
    try:
        composed = compose(PROGRAMS[method.program][0], **values)
    except InputError as error:
        raise InputError(f"{method.path}: {error}") from None
    read = data_files(composed.data, TASKS[task].folder if task in TASKS else task)
    read |= {key: values[key] for key in _READ if Path(str(values.get(key))).exists()}
    files = {key: identity(path, root) for key, path in read.items() if path}
    return _Run(name, method, task, values, root, files, settings.steps, settings.minutes)


def _result(run: _Run) -> tuple[str, dict[str, Any] | None, str | None]:
    """(name, RESULT, None) of a run, from an earlier call or from its program; (name, None, message) where it fails."""
    record = run.root / "results" / f"{run.name}.json"
    described = {"program": run.method.program, "values": run.values, "steps": run.steps, "minutes": run.minutes}
    earlier = read_json(record) if record.is_file() else {}
    files = earlier.get("files", run.files)  # records of earlier versions have none
    if earlier and (files != run.files or earlier.get("run") != described):
        logger.info("%s: its settings or a file that it reads have changed; it is trained again", run.name)
        remove(Path(run.values["output_dir"]))
        earlier = {}
    if "result" in earlier:
        return run.name, earlier["result"], None
    # What runs read again, such as tokenized rows and the teacher's logits; a folder has one writer.
    cache = run.root / "cache" / multiprocessing.current_process().name.replace(":", "_")
    run = dataclasses.replace(run, values=run.values | {"cache_dir": str(cache)})
    try:
        steps = run.steps or _steps_in(run)
        begin = time.perf_counter() - 60 * earlier.get("minutes", 0.0)  # of earlier calls, which were interrupted
        # A killed run is not resumed with other files.
        write_json(record, {"run": described, "files": run.files, "minutes": earlier.get("minutes", 0.0)})
        try:
            result = _call(run.method.program, run.values | {"max_steps": max(1, steps // run.method.stages)})
        except KeyboardInterrupt:
            write_json(record, {"run": described, "files": run.files, "minutes": (time.perf_counter() - begin) / 60})
            raise
    except (InputError, FloatingPointError) as error:
        return run.name, None, str(error)
    result["minutes"] = (time.perf_counter() - begin) / 60
    write_json(record, {"run": described, "files": run.files, "result": result})
    for name in _NOT_KEPT:
        remove(Path(run.values["output_dir"]) / name)
    return run.name, result, None


def _steps_in(run: _Run) -> int:
    """The number of steps of a run that take these minutes, by a dry run, which is made once for all seeds."""
    record = run.root / "results" / f"plan_{run.method.name}_{run.task}.json"
    values = {key: value for key, value in run.values.items() if key not in ("seed", "output_dir", "cache_dir")}
    earlier = read_json(record) if record.is_file() else {}
    if earlier.get("values") == values and earlier.get("files", run.files) == run.files:
        planned = earlier["planned"]
    else:
        planned = _call(run.method.program, run.values | {"dry_run": True})
        write_json(record, {"values": values, "files": run.files, "planned": planned})
    return max(1, round(planned["steps"] * run.minutes / max(planned["minutes"], 1e-3)))


def _call(program: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The RESULT of a program, run in this process: TensorFlow starts once for many runs."""
    settings_class, function = PROGRAMS[program]
    keras.backend.clear_session()  # frees the networks and graphs of the run before
    gc.collect()
    return function(compose(settings_class, **values))


def _row(method: Method, task: str, results: list[dict], settings: CompareSettings) -> dict[str, Any]:
    scores = [result["score"] for result in results]
    row = {
        "method": method.name,
        "task": task,
        "score": float(np.mean(scores)),
        "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "seeds": len(scores),
        "paper": method.paper_number(task),
        "steps": results[0].get("steps"),
        "minutes": float(np.mean([result["minutes"] for result in results])),
        "model": results[0]["model"],
    }
    config, _ = read_config(row["model"])
    row["parameters"] = load_model(row["model"]).count_params()
    length = settings.seq_len or 128
    row["encoder_flops"] = encoder_flops(config, length)
    return row


def _add_times(rows: list[dict[str, Any]], settings: CompareSettings) -> None:
    """Adds the `dynamic` file's median milliseconds; all files alternate in one run."""
    files = []
    for row in rows:
        path = Path(settings.output_dir) / "tflite" / f"{row['method']}_{row['task']}.tflite"
        positions = read_config(row["model"])[0].max_position_embeddings
        export_tflite(row["model"], path, seq_len=settings.seq_len or min(128, positions), quantize="dynamic")
        files.append(str(path))
    for row, report in zip(rows, benchmark(files), strict=True):
        row |= {"mb": report.mb, "ms": report.median_ms}
