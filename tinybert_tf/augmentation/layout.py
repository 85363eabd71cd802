"""The layouts of training files, so that augmented rows have the original format."""

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_tf.data.custom import CustomFiles, read_records_of_task
from tinybert_tf.data.glue import read_tsv_fields, tsv_fields
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tables import writable_header, written_records
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError


class Row(NamedTuple):
    """A row of the training set, and all the fields of its line."""

    example: Example
    fields: Any  # the arguments of the layout's `line`


class Layout:
    """The columns of a training file: the file's own, or those that the task's readers look for.

    Args:
        data: the task's data.
        file: its training file; None for rows of another source (TensorFlow Datasets, the built-in sample).
    """

    def __init__(self, data: TaskData, file: Path | None):
        self.data, self.task, self.file = data, data.task, file
        self.folder, self.train_name = self.task.folder, "train.tsv"
        named = isinstance(self.task.text, str)
        if named and file is not None:
            self.header = tsv_fields(next(numbered_lines(file), (1, ""))[1])
        else:
            self.header = _names(self.task) if named else None

    @classmethod
    def of(cls, data: TaskData, data_dir: str | Path | None) -> "Layout":
        """Raises InputError: a task without a training set, or one that is not of sentences."""
        task = data.task
        if task.kind not in ("classification", "regression") or not task.dev_splits:
            raise InputError(f"task {task.name} has no training set of sentences or pairs to augment")
        source = Path(data.train.source)
        return cls(data, source if data_dir is not None and source.is_file() else None)

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        """The training set, its first `limit` rows."""
        if self.file is None:
            yield from (Row(example, self.fields(example)) for example in self.data.train.limit(limit))
        else:
            rows = read_tsv_fields(self.file, self.task, has_labels=True)
            yield from itertools.starmap(Row, itertools.islice(rows, limit))

    def line(self, fields: Sequence[str], example: Example | None = None) -> bytes:
        """A line as the reader reads it back: the fields of an original row, with the texts of a copy if one is given.

        These files have no quoting. A tab or a line break, which only a row of another source can hold, becomes a space.
        """
        fields = list(fields)
        if example is not None:
            fields[self._column(self.task.text)] = example.text
            if self.task.text_pair is not None:
                fields[self._column(self.task.text_pair)] = example.text_pair
        return ("\t".join(re.sub(r"[\t\n\r]", " ", field) for field in fields) + "\n").encode("utf-8")

    def header_line(self) -> bytes:
        return b"" if self.header is None else self.line(self.header)

    def write_train(self, folder: Path, lines: Iterable[bytes]) -> None:
        """The training set, of rows as `line` gives them."""
        _write(folder / self.train_name, [self.header_line()], lines)

    def fields(self, example: Example) -> list[str]:
        """The fields of a row of another source."""
        values = {self.task.text: example.text, self.task.text_pair: example.text_pair, self.task.label: example.label}
        columns = self.header or range(max(self.task.text, self.task.label) + 1)
        return [values.get(column, "") for column in columns]

    def _column(self, name: str | int) -> int:
        return self.header.index(name) if isinstance(name, str) else name

    @property
    def other_files(self) -> list[Path]:
        """The task's dev and test sets beside the training file, as far as they exist."""
        names = (*self.task.dev_splits, *self.task.test_splits)
        beside = [] if self.file is None else [self.file.parent / f"{name}.tsv" for name in names]
        return [path for path in beside if path.is_file()]

    def write_other_splits(self, folder: Path) -> None:
        """The dev and test sets: copies of the files, or of another source files of their rows."""
        if self.file is not None:
            for path in self.other_files:
                shutil.copyfile(path, folder / path.name)
            return
        for name in self.task.dev_splits:
            lines = (self.line(self.fields(example)) for example in self.data.split(name))
            _write(folder / f"{name}.tsv", [self.header_line()], lines)
        for name in self.task.test_splits:
            with contextlib.suppress(InputError):  # a test set is optional
                self._write_test(folder / f"{name}.tsv", self.data.split(name))

    def _write_test(self, path: Path, split: Split) -> None:
        """GLUE's test sets have no labels: index and texts."""
        pair = self.task.text_pair
        text = self.task.text if isinstance(self.task.text, str) else "sentence"  # CoLA's test set alone has a header
        header = ["index", text] if pair is None else ["index", text, pair]
        rows = [[str(row.index), row.text] + ([] if pair is None else [row.text_pair]) for row in split]
        _write(path, [self.line(header)], map(self.line, rows))


class FileLayout:
    """The user's own CSV, TSV or JSONL file: records with any columns.

    Args:
        data: the task's data.
        files: where it is.

    Attributes:
        reading: the settings that say how a file is read.

    Raises:
        InputError: no training file, one that cannot be written again, or words with tags, which Algorithm 1 would separate.
    """

    folder = "custom"
    reading = ("text_column", "text_pair_column", "label_column", "label_type", "quoting", "skip_bad_rows")

    def __init__(self, data: TaskData, files: CustomFiles):
        self.data, self.task, self.files = data, data.task, files
        if self.task.kind == "token_classification":
            raise InputError("replaced words would lose their tags; augment sentences or pairs", "task", self.task.name)
        self.file = Path(files.train_file or "")
        if files.train_file is None:
            raise InputError("is missing; it holds the rows to augment", "train_file")
        self.train_name = self.file.name
        if self.file.suffix.lower() != ".jsonl":
            writable_header(self.file, files.quoting)  # refused here, and not when every copy is made

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        """The training set, its first `limit` rows."""
        rows = read_records_of_task(self.file, self.task, self.files)
        yield from itertools.starmap(Row, itertools.islice(rows, limit))

    def line(self, record: dict[str, Any], example: Example | None = None) -> bytes:
        """A record as a line of JSON, with the texts of a copy if one is given."""
        if example is not None:
            record = record | {self.task.text: example.text}
            if self.task.text_pair is not None:
                record |= {self.task.text_pair: example.text_pair}
        try:
            return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8")
        except UnicodeEncodeError:  # half a character in a column that nothing reads
            return (json.dumps(record) + "\n").encode("ascii")

    def write_train(self, folder: Path, lines: Iterable[bytes]) -> None:
        """The training set under its own name and in its own format, of rows as `line` gives them."""
        with (folder / self.train_name).open("wb") as file:
            file.writelines(written_records(self.file, self.files.quoting, lines))

    @property
    def other_files(self) -> list[Path]:
        """The dev file, if it is given."""
        return [path for path in (Path(self.files.dev_file or ""),) if path.is_file()]

    def write_other_splits(self, folder: Path) -> None:
        """A copy of the dev file beside the training file."""
        for path in self.other_files:
            shutil.copyfile(path, folder / (path.name if path.name != self.file.name else f"dev-{path.name}"))


def _names(task: Task) -> list[str]:
    return [name for name in (task.text, task.text_pair, task.label) if name is not None]


def _write(path: Path, *parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.writelines(part)
