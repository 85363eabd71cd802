"""The user's own data: texts with labels from CSV, TSV or JSONL files, or from lists."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.data.checks import as_list
from tinybert_tf.data.labels import MISSING, checked_label, distinct_labels, sorted_labels
from tinybert_tf.data.lines import log_once, whole_characters
from tinybert_tf.data.split import Example, MissingSplit, Split, TaskData
from tinybert_tf.data.tables import QUOTINGS, read_records
from tinybert_tf.data.tasks import Task
from tinybert_tf.data.unlabelled import unlabelled_split
from tinybert_tf.errors import InputError
from tinybert_tf.settings import setting

_KINDS = {"class": "classification", "number": "regression"}
# The dev metrics of each kind of task, those reported by default first; `main_metric` chooses among them.
METRICS = {
    "classification": ("accuracy", "macro_f1", "matthews", "f1"),
    "regression": ("spearman", "pearson"),
    "token_classification": ("f1", "precision", "recall", "accuracy"),
}
_REPORTED = 2  # number of metrics reported by default

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomFiles:
    """The user's own data: files, and how they are read.

    ```python
    files = tb.CustomFiles(train_file="train.csv", dev_file="dev.csv", text_column="review", label_column="stars")
    task = tb.load_task("custom", files=files)
    ```

    Attributes:
        train_file: training examples: .csv, .tsv or .jsonl, or CoNLL for the task "token_classification".
        dev_file: examples to score or to predict, in the format of `train_file`.
        unlabelled_file: texts without labels: .txt (one a line), or a file with the task's columns, whose labels or tags are
            not read.
        text_column: name of the column with the text.
        text_pair_column: name of the column with the second text, for pairs.
        label_column: name of the column with the label.
        tag_column: of CoNLL files: a number from 1, or a name of CoNLL-U; None: the last, of CoNLL-U "upos".
        label_type: "class" (classification) or "number" (regression).
        label_separator: "none": labels such as "a|b" are one class each.
        quoting: of .csv and .tsv: "csv", "none" (quotes are characters), or "auto": "csv", but a quoted field that contains
            whole rows is an error.
        main_metric: the metric that selects the best model, such as "macro_f1"; None: the task's first.
        skip_bad_rows: skip rows (of CoNLL files, sentences) that are malformed or have a label that cannot be used, and log
            how many. What may be a fault of the whole file is still an error: its encoding, its header, a quote that
            encloses several lines.

    Raises:
        InputError: an unknown `quoting` or `label_separator`.
    """

    train_file: str | None = setting(
        None, "training rows of --task=custom (.csv, .tsv or .jsonl) or --task=token_classification (CoNLL, CoNLL-U)"
    )
    dev_file: str | None = setting(None, "rows to score or to predict, in the format of --train_file")
    unlabelled_file: str | None = setting(
        None,
        "texts without labels: .txt (one a line), or a file with the task's columns, whose labels or tags are not read",
    )
    text_column: str | None = setting(None, "--task=custom: the column that holds the text")
    text_pair_column: str | None = setting(None, "--task=custom: the column of a second text, for pairs")
    label_column: str | None = setting(None, "--task=custom: the column that holds the label")
    tag_column: str | None = setting(
        None, "--task=token_classification: a number from 1, or a name of CoNLL-U (xpos); absent: the last, or upos"
    )
    label_type: str = setting("class", "--task=custom: class (classification) or number (regression)")
    label_separator: str | None = setting(
        None, "none: labels such as a|b are one class each; several labels for one text are not supported"
    )
    quoting: str = setting(
        "auto",
        "quotes in .csv and .tsv: csv, none (characters like any other), or auto: csv, refusing what swallows rows",
    )
    main_metric: str | None = setting(None, "own data: the metric that selects the best model, such as macro_f1")
    skip_bad_rows: bool = setting(
        False,
        "skip rows that are malformed or whose label cannot be used, and log how many: own files (CoNLL: sentences); SQuAD: "
        "answers with wrong offsets",
    )

    def __post_init__(self):
        if self.quoting not in QUOTINGS:
            raise InputError(f"must be one of {', '.join(QUOTINGS)}", "quoting", self.quoting)
        if self.label_separator not in (None, "none"):
            raise InputError(
                "several labels for one text are not supported; train a model for each label, or take `label_separator=none` "
                "if each text has one label",
                "label_separator",
                self.label_separator,
            )


def load_custom(files: CustomFiles, labels: Sequence[str] | None = None) -> TaskData:
    """The task of the user's files, with the splits "train", "dev" and "test"; "test" is dev without its labels.

    Classes are collected from the training file and sorted, as numbers if they are integers.

    Args:
        files: which files and columns.
        labels: see `load_task`.

    Raises:
        InputError: with file, line or column, whatever cannot be read; an empty label, several labels, or one that train lacks.
    """
    kind = _kind(files.label_type)
    _check_columns(files)
    task = Task("custom", kind, "", (), files.text_column, files.text_pair_column, files.label_column)
    task = with_metrics(task, files.main_metric)
    if kind == "classification":
        read = lambda path: (row.label for row in read_rows(path, task, files))
        task = dataclasses.replace(task, labels=known_labels(files, labels, read))
        _check_f1(task)
    return file_splits(task, files, lambda path, has_labels: read_rows(path, task, files, has_labels))


def task_from_lists(
    texts: Sequence[str],
    labels: Sequence,
    text_pairs: Sequence[str] | None = None,
    *,
    dev_texts: Sequence[str] | None = None,
    dev_labels: Sequence | None = None,
    dev_text_pairs: Sequence[str] | None = None,
    label_type: str = "class",
    label_separator: str | None = None,
) -> TaskData:
    """A task from texts and labels in memory: lists, arrays, or columns of a DataFrame.

    ```python
    task = tb.task_from_lists(["a fine day", "it rains"], ["good", "bad"], dev_texts=["fine"], dev_labels=["good"])
    batches = tb.batches(task.train, tokenizer, task.task, batch_size=32, seq_len=64)
    ```

    Args:
        texts: strings [examples].
        labels: [examples], a class (text, integer or bool) or, with `label_type="number"`, a number each.
        text_pairs: second texts [examples], for pairs.
        dev_texts, dev_labels, dev_text_pairs: the same for the dev set.
        label_type: "class" or "number".
        label_separator: "none": labels such as "a|b" are one class each.

    Returns:
        The splits "train", "dev" (if given) and "test", which is dev without its labels. Classes are sorted, as numbers if they
        are integers.

    Raises:
        InputError: lists of different lengths, something that is not a text, an empty label, several labels, or one that
            train lacks.
    """
    kind, is_whole = _kind(label_type), CustomFiles(label_separator=label_separator).label_separator == "none"
    pair = None if text_pairs is None else "text_pair"
    task = with_metrics(Task("custom", kind, "", (), "text", pair, "label"), None)
    rows = {"train": _listed(task, "", texts, text_pairs, labels)}
    if kind == "classification":
        task = dataclasses.replace(task, labels=sorted_labels("labels", (row.label for row in rows["train"]), is_whole))
    if dev_text_pairs is not None and text_pairs is None:
        raise InputError("are given, but `text_pairs` are not; give both or none", "dev_text_pairs")
    if dev_texts is None and (dev_labels is not None or dev_text_pairs is not None):
        raise InputError("is missing, but there are dev labels or second texts; give all of them or none", "dev_texts")
    if dev_texts is not None:
        rows["dev"] = _listed(task, "dev_", dev_texts, dev_text_pairs, dev_labels)
        rows["test"] = [row._replace(label=None) for row in rows["dev"]]

    def split(name: str) -> Split:
        if name not in rows:
            raise MissingSplit(f"the task has no split {name!r}; it has {', '.join(rows)}")
        return Split(name, f"{name} (in memory)", lambda: iter(rows[name]))

    return TaskData(task, split)


def _listed(task: Task, prefix: str, texts, pairs, labels) -> list[Example]:
    columns = {"texts": as_list(prefix + "texts", texts), "labels": as_list(prefix + "labels", labels, "labels")}
    if task.text_pair is not None:
        columns["text_pairs"] = as_list(prefix + "text_pairs", pairs)
    for name, values in columns.items():
        if len(values) != len(columns["texts"]):
            raise InputError(f"has {len(values)} entries, but there are {len(columns['texts'])} texts", prefix + name)
    rows = []
    for index, (text, label, *pair) in enumerate(zip(*columns.values(), strict=True)):
        for value, name in zip((text, *pair), ("texts", "text_pairs"), strict=False):
            if not isinstance(value, str):
                raise InputError(f"{prefix}{name}[{index}] is a {type(value).__name__}, not a text")
            whole_characters(value, f"{prefix}{name}[{index}]")
        where = f"{prefix}labels[{index}]"
        rows.append(
            Example(index, text, pair[0] if pair else None, checked_label(where, _as_label(label, where), task))
        )
    if not rows:
        raise InputError(f"{prefix}texts: no rows")
    return rows


def _as_label(value: Any, where: str) -> str:
    """A label of any Python, NumPy or pandas type as text."""
    if getattr(value, "size", 1) != 1:
        raise InputError(f"{where} is an array of {value.size}: several labels for one text are not supported")
    value = value.item() if hasattr(value, "item") else value  # of NumPy
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    is_missing = value is None or str(value).lower() in MISSING
    if is_missing or not isinstance(value, str | bool | int | float | list | tuple | set | dict):
        found = "is missing" if is_missing else f"is a {type(value).__name__}, not a text or a number"
        raise InputError(f"{where} {found}; remove the row or label it")
    return _as_text(value, where)


def _check_columns(files: CustomFiles) -> None:
    """Raises InputError where one column would be read twice."""
    read: dict[str, str] = {}
    for parameter in ("text_column", "text_pair_column", "label_column"):
        column = getattr(files, parameter)
        if column is not None and read.setdefault(column, parameter) != parameter:
            raise InputError(f"is the `{read[column]}` too; name two columns", parameter, column)


def _kind(label_type: str) -> str:
    if label_type not in _KINDS:
        raise InputError(f"must be {' or '.join(_KINDS)}", "label_type", label_type)
    return _KINDS[label_type]


def with_metrics(task: Task, main_metric: str | None) -> Task:
    """The task with its kind's metrics, `main_metric` the first of them."""
    known = METRICS[task.kind]
    reported = known if task.kind == "token_classification" else known[:_REPORTED]
    if main_metric is None:
        return dataclasses.replace(task, metrics=reported)
    if main_metric not in known:
        raise InputError(f"{task.kind} has {', '.join(known)}", "main_metric", main_metric)
    return dataclasses.replace(task, metrics=tuple(dict.fromkeys((main_metric, *reported))))


def _check_f1(task: Task) -> None:
    """F1 is that of one of two labels: logs which, and raises InputError where there are others."""
    if task.main_metric != "f1":
        return
    if len(task.labels) != 2:
        raise InputError(
            f"is of two labels, but there are {len(task.labels)} ({', '.join(task.labels[:10])}); take macro_f1",
            "main_metric",
            "f1",
        )
    logger.info("f1 is that of the label %r, the second in order", task.labels[1])


def known_labels(
    files: CustomFiles, labels: Sequence[str] | None, read: Callable[[Path], Iterator[str]]
) -> tuple[str, ...]:
    """The labels of the training file, in the given order if there is one; without a file the given ones."""
    given = None if labels is None else distinct_labels(as_list("labels", labels, "labels"))
    if files.train_file is None:
        if given is None:
            raise InputError("is missing; the labels are collected from it", "train_file")
        return given
    found = sorted_labels(files.train_file, read(Path(files.train_file)), files.label_separator == "none")
    if given is None:
        return found
    if set(given) != set(found):
        raise InputError(
            f"has {', '.join(given)}, but {files.train_file} {', '.join(found)}; give the same labels, or leave them out",
            "labels",
        )
    return given


def file_splits(task: Task, files: CustomFiles, rows: Callable[[Path, bool], Iterator[Example]]) -> TaskData:
    """The splits of a task on files; `rows(path, has_labels)` reads one."""
    parameters = {"train": "train_file", "dev": "dev_file", "test": "dev_file", "unlabelled": "unlabelled_file"}

    def split(name: str) -> Split:
        if name not in parameters:
            raise InputError(
                f"task {task.name} has no split {name!r}; it has train, dev, test (dev without labels) and unlabelled"
            )
        path = getattr(files, parameters[name])
        if path is None:
            raise MissingSplit(f"is missing; task {task.name} reads the split {name!r} from it", parameters[name])
        if not Path(path).is_file():
            raise InputError("no such file", parameters[name], path)
        if name == "unlabelled":
            return unlabelled_split(task, Path(path), lambda path: rows(path, False))
        has_tags = task.kind == "token_classification" and name != "test"
        return Split(name, str(path), lambda: rows(Path(path), name != "test"), has_tags)

    return TaskData(task, split)


def read_rows(path: Path, task: Task, files: CustomFiles, has_labels: bool = True) -> Iterator[Example]:
    """The rows of a file; columns and labels are the task's. While the task has no labels, every label is accepted."""
    return (example for example, _ in read_records_of_task(path, task, files, has_labels))


def read_records_of_task(
    path: Path, task: Task, files: CustomFiles, has_labels: bool = True
) -> Iterator[tuple[Example, dict[str, Any]]]:
    """As `read_rows`, each row with the whole record that it is from."""
    columns = {"text_column": task.text, "text_pair_column": task.text_pair, "label_column": task.label}
    if task.text_pair is None:
        del columns["text_pair_column"]
    if not has_labels:
        del columns["label_column"]
    has_header = path.suffix.lower() != ".jsonl"
    rows, bad = 0, []
    for line, record in read_records(path, files.quoting, bad if files.skip_bad_rows else None):
        where = f"{path}, line {line}"
        try:
            values = {name: _value(where, record, name, column, task) for name, column in columns.items()}
            texts = {name: _as_text(value, f"{where}: {columns[name]!r}") for name, value in values.items()}
            label = checked_label(where, texts["label_column"], task) if has_labels else None
        except InputError as error:
            if not files.skip_bad_rows or (has_header and isinstance(error, _MissingColumn)):
                raise
            bad.append(str(error))
            continue
        yield Example(rows + len(bad), texts["text_column"], texts.get("text_pair_column"), label), record
        rows += 1
    report_skipped(path, rows, bad)


def report_skipped(path: str | Path, rows: int, bad: Sequence[InputError | str], kind: str = "rows") -> None:
    """Logs, once for all passes over a file, how many rows were skipped, and the reason for the first.

    Args:
        path: the file.
        rows: how many are left.
        bad: what is wrong with each that was skipped.
        kind: what they are called.

    Raises:
        InputError: no row is left.
    """
    skipped = f"{len(bad)} {kind} are left out; the first: {bad[0]}" if bad else ""
    if not rows:
        raise InputError(f"{path}: no {kind}" + (f"; {skipped}" if bad else ""))
    if bad:
        log_once(logger, logging.WARNING, "%s: %s", path, skipped)


class _MissingColumn(InputError):
    """A record does not have a column that is read."""


def _value(where: str, record: dict[str, Any], parameter: str, column: str | None, task: Task) -> Any:
    if column in record:
        return record[column]
    if parameter == "label_column" and column and all(part.strip() in record for part in column.split(",")):
        raise _MissingColumn(
            f"{where}: {column} are several columns of labels; several labels for one text are not supported: train a model "
            "for each column",
            parameter,
            column,
        )
    found = f"{where} has {', '.join(record)}"
    if task.name != "custom":  # whose columns are no settings
        remedy = "" if task.text_pair else ", or take a .txt file with one text a line"
        raise _MissingColumn(f"{found}, but task {task.name} reads {column!r}; rename the column{remedy}")
    if column is None:
        raise _MissingColumn(f"is missing; {found}", parameter)
    raise _MissingColumn(f"no such column; {found}", parameter, column)


def _as_text(value: Any, where: str) -> str:
    """A value of any JSON or Python type as text."""
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | dict):
        raise InputError(
            f"{where} is a list or an object; it must be a text or a number: several labels for one text are not supported"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} is {value}, which is no value; fill it in or remove the row")
    value = value if isinstance(value, str) else json.dumps(value)
    return whole_characters(value, where)
