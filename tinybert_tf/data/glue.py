"""GLUE's files, read as they are distributed, a row at a time."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinybert_tf.data.lines import numbered_lines, without_end
from tinybert_tf.data.tasks import CUSTOM_TASKS, Task, get_task
from tinybert_tf.errors import InputError

if TYPE_CHECKING:
    from tinybert_tf.data.custom import CustomFiles


class Example(NamedTuple):
    """One row. `label` is the file's own word or number, None in a test set.

    For token classification `text` is the words and `label` their tags, both with a space between.
    """

    index: int
    text: str
    text_pair: str | None
    label: str | None


class Split:
    """The rows of one part of a task. Iterating reads them anew each time; nothing is held in memory.

    Args:
        name: "train", "dev", ...
        source: where the rows come from, for messages.
        rows: called for each pass; yields the examples.
    """

    def __init__(self, name: str, source: str, rows: Callable[[], Iterator[Example]]):
        self.name = name
        self.source = source
        self._rows = rows

    def __iter__(self) -> Iterator[Example]:
        return self._rows()

    def limit(self, count: int | None) -> "Split":
        """The first `count` rows; all of them for None."""
        if count is None:
            return self
        return Split(self.name, self.source, lambda: itertools.islice(iter(self), count))

    def chunks(self, size: int) -> Iterator[list[Example]]:
        """The rows, `size` at a time; fewer in the end."""
        rows = iter(self)
        while chunk := list(itertools.islice(rows, size)):
            yield chunk


class TaskData:
    """A task's splits, by name; `train`, `dev` and `test` are the usual three.

    For MNLI `dev` is the matched set; `split("dev_mismatched")` is the other one.
    """

    def __init__(self, task: Task, open_split: Callable[[str], Split]):
        self.task = task
        self.split = open_split

    @property
    def train(self) -> Split:
        return self.split("train")

    @property
    def dev(self) -> Split:
        return self.split(self._dev_names()[0])

    @property
    def test(self) -> Split:
        return self.split(self.task.test_splits[0])

    def dev_splits(self) -> list[Split]:
        """The dev set that a model is chosen on, and after it those that are scored beside it, if they are there."""
        return self._present(self._dev_names())

    def test_splits(self) -> list[Split]:
        """The test sets; the first must be there."""
        return self._present(self.task.test_splits)

    def _dev_names(self) -> Sequence[str]:
        if not self.task.dev_splits:
            raise InputError(f"task {self.task.name} has no dev set: its labels are not public; see bin/predict.py")
        return self.task.dev_splits

    def _present(self, names: Sequence[str]) -> list[Split]:
        splits = [self.split(names[0])]
        for name in names[1:]:
            try:
                splits.append(self.split(name))
            except InputError as error:
                print(f"{name} is left out: {error}", flush=True)
        return splits


def load_task(
    name: str,
    data_dir: str | Path | None = None,
    files: "CustomFiles | None" = None,
    labels: Sequence[str] | None = None,
) -> TaskData:
    """The data of a task.

    Args:
        name: see `TASKS`; "sample" is the built-in set, which needs no files; "custom" and "token_classification" are the
            user's own.
        data_dir: a folder in GLUE's layout (`CoLA/train.tsv`, ...), or the task's own folder in it; or a folder that
            TensorFlow Datasets has prepared (`glue/cola/2.0.0`, ...). Without it the data comes from TensorFlow Datasets,
            which may fetch it. For "sample", a folder that holds it augmented.
        files: of a custom task; settings that inherit from `CustomFiles` will do.
        labels: of a custom task, in the order of their ids, where there is no training file to collect them from.

    Raises:
        InputError: an unknown task, or (once a split is asked for) a missing or malformed file.
    """
    if name in CUSTOM_TASKS:
        from tinybert_tf.data import conll, custom

        load = custom.load_custom if name == "custom" else conll.load_conll
        return load(files or custom.CustomFiles(), labels)
    task = get_task(name)
    if task.name == "sample" and data_dir is None:
        from tinybert_tf.data.sample import sample_split

        return TaskData(task, sample_split)
    if task.kind == "span":
        from tinybert_tf.data.squad import squad_split

        return TaskData(task, lambda split: squad_split(task, data_dir, split))
    if data_dir is None or (task.tfds and (Path(data_dir) / task.tfds).is_dir()):
        from tinybert_tf.data.tfds import tfds_split

        return TaskData(task, lambda split: tfds_split(task, split, data_dir))
    return TaskData(task, lambda split: _file_split(task, _folder(task, Path(data_dir)), split))


def _folder(task: Task, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise InputError(f"--data_dir {data_dir}: no such folder")
    names = (task.folder, "diagnostic") if task.name == "ax" else (task.folder,)
    return next((data_dir / name for name in names if (data_dir / name).is_dir()), data_dir)


def _file_split(task: Task, folder: Path, split: str) -> Split:
    path = folder / f"{split}.tsv"
    if task.name == "ax":
        path = next((p for p in (folder / "AX.tsv", folder / "diagnostic.tsv", path) if p.is_file()), path)
    if not path.is_file() and task.name == "mrpc" and _has_paraphrase_files(folder):
        return Split(split, str(folder), lambda: _read_paraphrase(folder, split))
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data_dir must hold GLUE's files in their original layout")
    has_labels = not split.startswith("test") and task.name != "ax"
    return Split(split, str(path), lambda: read_tsv(path, task, has_labels))


def read_tsv(path: Path, task: Task, has_labels: bool) -> Iterator[Example]:
    """Rows of a GLUE TSV. A quote is a character like any other, and only a line feed ends a row.

    QQP as it is distributed holds a few questions with a line feed in them. Their halves are left out, as TensorFlow Datasets
    leaves them out, and counted.

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
        print(f"{path}: left out {halves} lines that are halves of rows", flush=True)
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
        return checked_score(path, number, label)
    if label not in task.labels:
        raise InputError(
            f"{path}, line {number}: unknown label {label!r}; task {task.name} has {', '.join(task.labels)}"
        )
    return label


def checked_score(path: Path, number: int, label: str) -> str:
    """A regression label that is a finite number; raises InputError otherwise."""
    try:
        is_finite = math.isfinite(float(label))
    except ValueError:
        is_finite = False
    if not is_finite:
        raise InputError(f"{path}, line {number}: the score {label!r} is not a number")
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
