"""The user's own data: CSV, TSV or JSONL with named columns."""

import csv
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.data.glue import checked_score
from tinybert_tf.data.lines import numbered_lines, whole_characters
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError
from tinybert_tf.files import parse_json_object
from tinybert_tf.settings import setting

_KINDS = {"class": "classification", "number": "regression"}
# Python refuses to read whole numbers of thousands of digits, and no class is named so.
_LONGEST_NUMBER = 20
_METRICS = {"classification": ("accuracy", "macro_f1"), "regression": ("spearman", "pearson")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomFiles:
    """Where the user's own data is; programs inherit these settings."""

    train_file: str | None = setting(
        None, "training rows of --task=custom (.csv, .tsv or .jsonl) or --task=token_classification (CoNLL)"
    )
    dev_file: str | None = setting(None, "rows to score or to predict, in the format of --train_file")
    text_column: str | None = setting(None, "--task=custom: the column that holds the text")
    text_pair_column: str | None = setting(None, "--task=custom: the column of a second text, for pairs")
    label_column: str | None = setting(None, "--task=custom: the column that holds the label")
    label_type: str = setting("class", "--task=custom: class (classification) or number (regression)")


def load_custom(files: CustomFiles, labels: Sequence[str] | None = None) -> TaskData:
    """The task that the user's files are, with the splits "train", "dev" and "test"; "test" is dev without its labels.

    Classes are collected from the training file and sorted, as numbers if they are whole numbers.

    Args:
        files: which files and columns.
        labels: the classes in the order of their ids; taken where no training file is given.

    Raises:
        InputError: with file, line or column, whatever cannot be read; an empty label, or one that train does not have.
    """
    if files.label_type not in _KINDS:
        raise InputError(f"--label_type={files.label_type}: must be {' or '.join(_KINDS)}")
    kind = _KINDS[files.label_type]
    task = Task("custom", kind, "", (), files.text_column, files.text_pair_column, files.label_column, _METRICS[kind])
    if kind == "classification":
        read = lambda path: (row.label for row in read_rows(path, task, has_labels=True))
        task = dataclasses.replace(task, labels=known_labels(files, labels, read))
    return file_splits(task, files, lambda path, has_labels: read_rows(path, task, has_labels))


def known_labels(
    files: CustomFiles, labels: Sequence[str] | None, read: Callable[[Path], Iterator[str]]
) -> tuple[str, ...]:
    """The labels of the training file, or without one the given ones."""
    if files.train_file is None:
        if labels is None:
            raise InputError("--train_file is missing; the labels are collected from it")
        return tuple(labels)
    found = set(read(Path(files.train_file)))
    if len(found) < 2:
        raise InputError(f"{files.train_file}: every label is {next(iter(found))!r}; a classifier needs two at least")
    are_whole = all(label.removeprefix("-").isdecimal() and len(label) < _LONGEST_NUMBER for label in found)
    return tuple(sorted(found, key=lambda label: (int(label) if are_whole else 0, label)))


def file_splits(task: Task, files: CustomFiles, rows: Callable[[Path, bool], Iterator[Example]]) -> TaskData:
    """The splits of a task on files; `rows(path, has_labels)` reads one."""

    def split(name: str) -> Split:
        if name not in ("train", "dev", "test"):
            raise InputError(
                f"task {task.name} has no split {name!r}; there are train, dev and test (dev without labels)"
            )
        flag = "train_file" if name == "train" else "dev_file"
        path = getattr(files, flag)
        if path is None:
            raise InputError(f"--{flag} is missing; --task={task.name} reads the split {name!r} from it")
        if not Path(path).is_file():
            raise InputError(f"--{flag}={path}: no such file")
        return Split(name, path, lambda: rows(Path(path), name != "test"))

    return TaskData(task, split)


def read_rows(path: Path, task: Task, has_labels: bool) -> Iterator[Example]:
    """The rows of a file; columns and labels are the task's. While it has no labels yet, every label will do."""
    columns = {"text_column": task.text, "text_pair_column": task.text_pair, "label_column": task.label}
    if task.text_pair is None:
        del columns["text_pair_column"]
    if not has_labels:
        del columns["label_column"]
    index = -1
    for index, (line, record) in enumerate(read_records(path)):
        values = {flag: _value(path, line, record, flag, column) for flag, column in columns.items()}
        label = _label(path, line, values["label_column"], task) if has_labels else None
        yield Example(index, values["text_column"], values.get("text_pair_column"), label)
    if index < 0:
        raise InputError(f"{path}: no rows")


def _value(path: Path, line: int, record: dict[str, Any], flag: str, column: str | None) -> str:
    """A column's value as text, whatever type it has in JSON."""
    if column not in record:
        asked = f"--{flag} is missing" if column is None else f"no column named {column!r} (--{flag})"
        raise InputError(f"{path}, line {line}: {asked}; there are {', '.join(record)}")
    value = record[column]
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise InputError(f"{path}, line {line}: {column!r} is a list or an object; it must be a text or a number")
    value = value if isinstance(value, str) else json.dumps(value)
    return whole_characters(value, f"{path}, line {line}: {column!r}")


def _label(path: Path, line: int, label: str, task: Task) -> str:
    label = label.strip()
    if not label:
        raise InputError(
            f"{path}, line {line}: the label is empty (column {task.label!r}); fill it in or remove the row"
        )
    if task.kind == "regression":
        return checked_score(path, line, label)
    if task.labels and label not in task.labels:
        raise InputError(f"{path}, line {line}: unknown label {label!r}; training had {', '.join(task.labels)}")
    return label


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line that the record begins at, column -> value) for each record of a .csv, .tsv or .jsonl file.

    CSV and TSV as spreadsheets write them: a header, and a field that holds a separator, a quote or a line break stands in
    quotes, its own quotes doubled. Blank lines are passed over.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        return _json_records(path)
    if kind in (".csv", ".tsv"):
        return _table_records(path, "\t" if kind == ".tsv" else ",")
    raise InputError(f"{path}: what kind of file is told by its ending, which must be .csv, .tsv or .jsonl")


def _table_records(path: Path, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(sys.maxsize)  # a text may be long
    reader = csv.reader((line for _, line in numbered_lines(path)), delimiter=separator, strict=True)
    header = None
    while True:
        begin = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{path}, line {begin}: {error}; a field with a quote in it stands in quotes, its own quotes doubled"
            ) from None
        if fields is None:
            break
        if not fields:
            continue
        if header is None:
            header = fields
            name, count = Counter(filter(None, header)).most_common(1)[0] if any(header) else ("", 0)
            if count > 1:
                raise InputError(f"{path}: two columns named {name!r}; the header has {', '.join(header)}")
        elif len(fields) != len(header):
            raise InputError(
                f"{path}, line {begin}: {len(fields)} columns, but the header has {len(header)}; a field with a separator "
                "in it stands in quotes"
            )
        else:
            yield begin, dict(zip(header, fields, strict=True))
    if header is None:
        raise InputError(f"{path}: the file is empty")


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        remedy = 'a line is such as {"text": "...", "label": "..."}'
        record = parse_json_object(line, f"{path}, line {number}", remedy)
        yield number, record
