"""A file of a teacher's logits, one row for each of the training set: no teacher runs."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert_tf.data import Task, label_ids, label_values
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.distill.networks import TEACHER
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import constant_score
from tinybert_tf.evaluate.logits import score
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.files import parse_json_object
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.training_set import Extra, TrainingSet

# Numbers of rows -> the logits of these rows as a feature.
LogitsOf = Callable[[np.ndarray], Extra]


def given_logits(logits: np.ndarray) -> LogitsOf:
    """The logits [rows, C] of all rows; a row of padding, whose number is -1, gets zeros."""

    def read(numbers: np.ndarray, length: int) -> np.ndarray:
        return np.where((numbers >= 0)[:, None], logits[numbers], np.float32(0))

    return lambda rows: {f"{TEACHER}logits": read}


def read_logits(path: str | Path, task: Task, ids: dict[str, int]) -> np.ndarray:
    """The logits of a file, float32 [rows, C], in the order of a student's classes.

    Args:
        path: .npy, .tsv or .jsonl, see `teacher_logits` of `DistillSettings`.
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
    if task.kind == "regression" and kind == ".tsv" and all(map(_is_number, columns or ())):
        raise InputError(
            f"{path}: line 1 is a number, where a .tsv has a header; write a name such as score above the first row"
        )
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


def check_rows(logits: np.ndarray, training: TrainingSet, student: TaskModel, settings: DistillSettings) -> None:
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
