"""Reads GLUE's files in their original form, a row at a time."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

from tinybert_tf.data.lines import log_once, numbered_lines, without_end
from tinybert_tf.data.split import Example, MissingSplit, Split
from tinybert_tf.data.tasks import Task, get_task
from tinybert_tf.errors import InputError

_LARGEST_SCORE = 3.4e38  # of float32

logger = logging.getLogger(__name__)


def _folder(task: Task, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise InputError("no such folder", "data_dir", data_dir)
    names = (task.folder, "diagnostic") if task.name == "ax" else (task.folder,)
    return next((data_dir / name for name in names if (data_dir / name).is_dir()), data_dir)


def glue_split(task: Task, data_dir: str | Path, split: str) -> Split:
    """A split of a task from a folder in GLUE's layout, or from the task's own folder in it.

    Raises:
        InputError: no such folder or file.
    """
    folder = _folder(task, Path(data_dir))
    path = folder / f"{split}.tsv"
    if task.name == "ax":
        path = next((p for p in (folder / "AX.tsv", folder / "diagnostic.tsv", path) if p.is_file()), path)
    if not path.is_file() and task.name == "mrpc" and _has_paraphrase_files(folder):
        return Split(split, str(folder), lambda: _read_paraphrase(folder, split))
    if not path.is_file():
        raise MissingSplit(f"{path}: no such file; `data_dir` must hold GLUE's files in their original layout")
    has_labels = not split.startswith("test") and task.name != "ax"
    return Split(split, str(path), lambda: read_tsv(path, task, has_labels))


def read_tsv(path: Path, task: Task, has_labels: bool) -> Iterator[Example]:
    """Rows of a GLUE TSV. A quote is a character like any other, and only a line feed ends a row. QQP's original files hold
    a few questions with a line feed in them. Their halves are skipped, as in TensorFlow Datasets, and counted.

    Raises:
        InputError: with file and line: not UTF-8, too few columns, an unknown label; or the file is empty.
    """
    return (example for example, _ in read_tsv_fields(path, task, has_labels))


def read_tsv_fields(path: Path, task: Task, has_labels: bool) -> Iterator[tuple[Example, list[str]]]:
    """As `read_tsv`, each row with all the fields of its line."""
    lines = numbered_lines(path)
    columns = (task.text, task.text_pair, task.label if has_labels else None)
    if task.name == "cola" and not has_labels:
        columns = ("sentence", None, None)  # CoLA's test set alone has a header
    header = None
    if any(isinstance(column, str) for column in columns):
        header = tsv_fields(next(lines, (1, ""))[1])
        if header == [""]:
            raise InputError(f"{path}: the file is empty")
        columns = tuple(_column(path, header, column) for column in columns)
    text, text_pair, label = columns
    needed = max(column for column in columns if column is not None) + 1
    index, halves = 0, 0
    for number, line in lines:
        fields = tsv_fields(line)
        if len(fields) < needed and task.name == "qqp" and has_labels:
            halves += 1
            continue
        if len(fields) < needed:
            raise InputError(
                f"{path}, line {number}: {len(fields)} columns, but {len(header) if header else needed} are needed; "
                "correct or remove the row"
            )
        example = Example(
            index,
            fields[text],
            None if text_pair is None else fields[text_pair],
            None if label is None else _label(path, number, fields[label], task),
        )
        yield example, fields
        index += 1
    if halves:
        log_once(logger, logging.INFO, "%s: left out %d lines that are halves of rows", path, halves)
    if not index:
        raise InputError(f"{path}: no rows{' below the header' if header else ', the file is empty'}")


def tsv_fields(line: str) -> list[str]:
    """A line's fields, without its end."""
    return without_end(line).split("\t")


def _column(path: Path, header: list[str], name: str | int | None) -> int | None:
    if not isinstance(name, str):
        return name
    if name not in header:
        raise InputError(f"{path}: no column named {name!r}; the header has {', '.join(header)}")
    return header.index(name)


def _label(path: Path, number: int, label: str, task: Task) -> str:
    if task.kind == "regression":
        return checked_score(f"{path}, line {number}", label)
    if label not in task.labels:
        raise InputError(
            f"{path}, line {number}: unknown label {label!r}; task {task.name} has {', '.join(task.labels)}"
        )
    return label


def checked_score(where: str, label: str) -> str:
    """A regression label that is a finite number of float32; raises InputError otherwise."""
    try:
        number = math.nan if "_" in label else float(label)  # Python reads 1_000
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: the score {label!r} is not a number")
    if abs(number) > _LARGEST_SCORE:
        raise InputError(f"{where}: the score {label!r} is too large for float32; scale the scores down")
    return label


def _has_paraphrase_files(folder: Path) -> bool:
    return (folder / "msr_paraphrase_train.txt").is_file() or (folder / "msr_paraphrase_test.txt").is_file()


def _read_paraphrase(folder: Path, split: str) -> Iterator[Example]:
    """MRPC as Microsoft distributes it: GLUE's dev set is the part of the training file that dev_ids.tsv lists."""
    task = get_task("mrpc")
    path = folder / ("msr_paraphrase_test.txt" if split == "test" else "msr_paraphrase_train.txt")
    dev_ids: set[tuple[str, ...]] = set()
    if split != "test":
        if not (folder / "dev_ids.tsv").is_file():
            raise InputError(
                f"{folder / 'dev_ids.tsv'}: no such file; GLUE's dev_ids.tsv says which rows are the dev set"
            )
        dev_ids = {tuple(tsv_fields(line)[:2]) for _, line in numbered_lines(folder / "dev_ids.tsv")}
    index = 0
    for number, line in numbered_lines(path):
        fields = tsv_fields(line)
        if len(fields) < 5:
            raise InputError(f"{path}, line {number}: {len(fields)} columns, but 5 are needed")
        if number == 1 or (split != "test" and (tuple(fields[1:3]) in dev_ids) != (split == "dev")):
            continue
        label = None if split == "test" else _label(path, number, fields[0], task)
        yield Example(index, fields[3], fields[4], label)
        index += 1
    if not index:
        listed = (
            "" if split == "test" else f"; {folder / 'dev_ids.tsv'} lists the ids of the pairs that are the dev set"
        )
        raise InputError(f"{path}: no row is in the {split} set{listed}")
