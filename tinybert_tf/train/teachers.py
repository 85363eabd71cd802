"""Logits for the prediction stage that are not one teacher's: the mean of several teachers', or those of a file."""

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tinybert_tf.bert import INPUT_NAMES
from tinybert_tf.data import Task, label_ids, label_values
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.distill.networks import TEACHER, reader
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import constant_score
from tinybert_tf.evaluate.logits import score
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.files import parse_json_object
from tinybert_tf.train.reading import cache_folder
from tinybert_tf.train.teacher_cache import TeacherCache
from tinybert_tf.train.teacher_scores import teacher_scores
from tinybert_tf.train.training_set import Extra, TrainingSet, training_set

TEACHER_LOGITS_HELP = (
    "a .npy, .tsv or .jsonl file with the logits of a teacher for each row of the training set, in its order; no teacher runs. "
    "A .tsv has the labels for a header, a line of .jsonl is {label: logit}, a .npy has the task's order of labels"
)
# Numbers of rows -> the logits of these rows as a feature.
LogitsOf = Callable[[np.ndarray], Extra]


@dataclasses.dataclass(frozen=True)
class Member:
    """One of several teachers.

    Attributes:
        cache: computes and keeps its logits.
        weight: in the mean.
        order: the rows of its logits in the order of the student's classes.
    """

    cache: TeacherCache
    weight: float
    order: Sequence[int]


def mean_logits(members: Sequence[Member]) -> LogitsOf:
    """The weighted mean of the teachers' logits, each computed once."""
    total = sum(member.weight for member in members)

    def read(numbers: np.ndarray, length: int) -> np.ndarray:
        parts = []
        for member in members:
            logits = member.cache.features()[f"{TEACHER}logits"](numbers, length)
            parts.append(member.weight / total * logits[..., list(member.order)])
        return np.sum(parts, axis=0, dtype=np.float32)

    def of_rows(rows: np.ndarray) -> Extra:
        for member in members:
            member.cache.compute(rows)
        return {f"{TEACHER}logits": read}

    return of_rows


def scores_of(teachers: Sequence[TaskModel], settings: Any) -> dict[str, float]:
    """The dev scores of a teacher, or of the weighted mean of several; `settings` are those of task distillation."""
    if len(teachers) == 1:
        shared = settings.examples.cache_dir
        folder = cache_folder(settings.run.output_dir, shared) if shared else None
        return teacher_scores(teachers[0], folder, settings.data)
    weights = np.asarray(settings.weights_of_teachers) / sum(settings.weights_of_teachers)
    predicted = [teacher.predict(teachers[0].data.dev) for teacher in teachers]
    mean = sum(weight * logits for weight, (logits, _) in zip(weights, predicted, strict=True))
    return score(teachers[0].data.task, mean, predicted[0][1])


def check_mean(task: Task, settings: Any) -> None:
    """Raises InputError for a task or settings for which `mean_of` has no logits."""
    taught = None
    if task.kind not in ("classification", "regression"):
        taught = f"task {task.name}"
    elif settings.augmented_data_dir and task.kind == "regression":
        taught = "scores on augmented rows"
    if taught is not None:
        message = f"only one teacher, with the student's vocabulary, can teach {taught}"
        raise InputError(message, "teacher", settings.teacher)


def mean_of(teachers: Sequence[TaskModel], settings: Any, ids: Mapping[str, int]) -> LogitsOf:
    """The mean of several teachers' logits for the rows of the training set.

    Args:
        teachers: each with its own vocabulary and order of labels.
        settings: of task distillation.
        ids: label word -> the student's id.
    """
    check_mean(teachers[0].data.task, settings)
    members = []
    words = sorted(ids, key=ids.__getitem__)
    folder = cache_folder(settings.run.output_dir, settings.examples.cache_dir)
    for teacher, weight in zip(teachers, settings.weights_of_teachers, strict=True):
        shards = training_set(settings, teacher, has_teacher=True).shards
        cache = TeacherCache(folder, shards, reader(teacher.model, ("logits",)))
        members.append(Member(cache, weight, [teacher.ids[word] for word in words] or [0]))
    return mean_logits(members)


def given_logits(logits: np.ndarray) -> LogitsOf:
    """The logits [rows, C] of all rows; a row of padding, whose number is -1, gets zeros."""

    def read(numbers: np.ndarray, length: int) -> np.ndarray:
        return np.where((numbers >= 0)[:, None], logits[numbers], np.float32(0))

    return lambda rows: {f"{TEACHER}logits": read}


def stand_in(labels: int) -> keras.Model:
    """A network of the teacher's shape for a `Distiller` whose features hold the teacher's logits: it is never run."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}
    nothing = keras.ops.cast(inputs["input_word_ids"][:, :1], "float32") * np.zeros((1, labels), np.float32)
    return keras.Model(inputs, {"logits": nothing}, name="given_logits")


def read_logits(path: str | Path, task: Task, ids: dict[str, int]) -> np.ndarray:
    """The logits of a file, float32 [rows, C], in the order of a student's classes.

    Args:
        path: see `TEACHER_LOGITS_HELP`.
        task: of whose training set they are.
        ids: label word -> the student's id.

    Raises:
        InputError: another kind of task or file, other labels, a malformed row, or a number that is not finite.
    """
    path = Path(path)
    if task.kind not in ("classification", "regression"):
        raise InputError(f"holds one row for a text, which task {task.name} does not need", "teacher_logits", path)
    if not path.is_file():
        raise InputError("no such file", "teacher_logits", path)
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise InputError(f"must end in {', '.join(_READERS)}", "teacher_logits", path)
    columns, rows = _READERS[kind](path)
    width = len(task.labels) or 1
    if rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(f"{path}: has the shape {list(rows.shape)}, but task {task.name} needs [rows, {width}]")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(f"{path}: row {bad[0] + 1} holds a number that is not finite")
    if task.kind == "regression":
        return rows
    places = {name: n for n, name in enumerate(columns)} if columns else None
    of_word = label_ids(task, places, str(path), "name the logits by the task's labels")
    return rows[:, [of_word[word] for word in sorted(task.labels, key=ids.__getitem__)]]


def check_rows(logits: np.ndarray, training: TrainingSet, student: TaskModel, settings: Any) -> None:
    """Raises InputError where logits are not those of the training rows: too few or many, or no better than chance."""
    path, rows, limit = settings.teacher_logits, training.rows, settings.examples.max_train_examples
    if len(logits) < rows or (len(logits) > rows and limit is None):
        raise InputError(
            f"{path}: has {len(logits)} rows, but {training.split.source} has {rows} examples; give one for each"
        )
    task = student.data.task
    if settings.allow_weak_teacher or task.kind != "classification":
        return
    in_order = logits[:rows, [student.ids[word] for word in task.labels]]
    labels = label_values(list(training.split), task, label_ids(task, None))
    found, (chance, _) = score(task, in_order, labels)[task.main_metric], constant_score(task, training.split)
    if found <= chance:
        raise InputError(
            f"{path}: its {task.main_metric} on the training set is {found:.4f}, and the best constant answer has {chance:.4f}: "
            "its rows or its labels stand in another order; reorder them, or set `allow_weak_teacher`"
        )


def _read_npy(path: Path) -> tuple[list[str] | None, np.ndarray]:
    try:
        values = np.load(path, allow_pickle=False)
        if isinstance(values, np.ndarray):
            return None, values.astype(np.float32)
        reason = "several arrays"  # of an .npz file
    except (ValueError, TypeError, OSError, EOFError) as error:
        reason = str(error)
    raise InputError(f"{path}: no array of numbers ({reason})")


def _read_tsv(path: Path) -> tuple[list[str], np.ndarray]:
    reader = csv.reader((line for _, line in numbered_lines(path)), delimiter="\t")
    try:
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num} is no row ({error}); it has a number for each label"
        ) from None
    if not rows:
        raise InputError(f"{path}: is empty")
    (_, header), *rows = rows
    return header, _numbers(path, rows, len(header))


def _read_jsonl(path: Path) -> tuple[list[str] | None, np.ndarray]:
    values = [(number, _json_value(path, number, line)) for number, line in numbered_lines(path) if not line.isspace()]
    if not values:
        raise InputError(f"{path}: is empty")
    (first, value), *_ = values
    columns = list(value) if isinstance(value, dict) else None
    for number, value in values:
        if columns and (not isinstance(value, dict) or value.keys() != set(columns)):
            raise InputError(f"{path}: line {number} has not the labels {', '.join(columns)} of line {first}")
        if not columns and not isinstance(value, list):
            raise InputError(f"{path}: line {number} is neither {{label: logit}} nor a list")
    rows = [(number, [value[name] for name in columns] if columns else value) for number, value in values]
    return columns, _numbers(path, rows, len(rows[0][1]))


def _json_value(path: Path, number: int, line: str) -> Any:
    where = f"{path}: line {number}"
    if line.lstrip().startswith("{"):
        return parse_json_object(line, where, "a line is {label: logit} or a list of logits")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error})") from None


def _numbers(path: Path, rows: Sequence[tuple[int, Sequence]], width: int) -> np.ndarray:
    """The numbers of rows, each of which has its line before it: float32 [rows, width]."""
    found = np.zeros((len(rows), width), np.float32)
    for values, (number, row) in zip(found, rows, strict=True):
        if len(row) != width:
            raise InputError(f"{path}: line {number} has {len(row)} values, but {width} are expected")
        try:
            with np.errstate(over="ignore"):  # it becomes infinite, which is refused
                values[:] = [float(value) for value in row]
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{path}: line {number} holds what is no number: {row}") from None
    return found


_READERS = {".npy": _read_npy, ".tsv": _read_tsv, ".jsonl": _read_jsonl}
