"""A task's training file as it is laid out, so that augmented rows can be written as the original ones were."""

import contextlib
import itertools
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinybert_tf.data.glue import read_tsv_fields, tsv_fields
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError


class Row(NamedTuple):
    """A row of the training set, and all the fields of its line."""

    example: Example
    fields: list[str]


class Layout:
    """The columns of a training file: the file's own where there is one, else those that the task's readers look for.

    Args:
        data: the task's data.
        file: its training file; None where the rows come from somewhere else (TensorFlow Datasets, the built-in sample).
    """

    def __init__(self, data: TaskData, file: Path | None):
        self.data, self.task, self.file = data, data.task, file
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

        There is no quoting in these files. A tab or a line break, which only a row from elsewhere can hold, becomes a space.
        """
        fields = list(fields)
        if example is not None:
            fields[self._column(self.task.text)] = example.text
            if self.task.text_pair is not None:
                fields[self._column(self.task.text_pair)] = example.text_pair
        return ("\t".join(re.sub(r"[\t\n\r]", " ", field) for field in fields) + "\n").encode("utf-8")

    def header_line(self) -> bytes:
        return b"" if self.header is None else self.line(self.header)

    def write_train(self, folder: Path, limit: int | None, parts: Iterable[Path]) -> None:
        """The training set: the original rows, its first `limit`, then those of the parts."""
        with (folder / "train.tsv").open("wb") as file:
            file.write(self.header_line())
            file.writelines(self.line(row.fields) for row in self.rows(limit))
            for part in parts:
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, file)

    def fields(self, example: Example) -> list[str]:
        """The fields of a row that comes from elsewhere."""
        values = {self.task.text: example.text, self.task.text_pair: example.text_pair, self.task.label: example.label}
        columns = self.header or range(max(self.task.text, self.task.label) + 1)
        return [values.get(column, "") for column in columns]

    def _column(self, name: str | int) -> int:
        return self.header.index(name) if isinstance(name, str) else name

    def write_other_splits(self, folder: Path) -> None:
        """The task's dev and test sets beside the training file, as far as there are any."""
        if self.file is not None:
            for name in (*self.task.dev_splits, *self.task.test_splits):
                if (self.file.parent / f"{name}.tsv").is_file():
                    shutil.copyfile(self.file.parent / f"{name}.tsv", folder / f"{name}.tsv")
            return
        for name in self.task.dev_splits:
            lines = (self.line(self.fields(example)) for example in self.data.split(name))
            _write(folder / f"{name}.tsv", [self.header_line()], lines)
        for name in self.task.test_splits:
            with contextlib.suppress(InputError):  # there need not be one
                self._write_test(folder / f"{name}.tsv", self.data.split(name))

    def _write_test(self, path: Path, split: Split) -> None:
        """GLUE's test sets have no labels: index and texts."""
        pair = self.task.text_pair
        text = self.task.text if isinstance(self.task.text, str) else "sentence"  # CoLA's test set alone has a header
        header = ["index", text] if pair is None else ["index", text, pair]
        rows = [[str(row.index), row.text] + ([] if pair is None else [row.text_pair]) for row in split]
        _write(path, [self.line(header)], map(self.line, rows))


def _names(task: Task) -> list[str]:
    return [name for name in (task.text, task.text_pair, task.label) if name is not None]


def _write(path: Path, *parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.writelines(part)
