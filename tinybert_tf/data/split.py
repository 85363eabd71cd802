"""Examples, the splits that hold them, and a task with its splits."""

import itertools
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

logger = logging.getLogger(__name__)

_Row = TypeVar("_Row")


class MissingSplit(InputError):
    """The task has no such split: not a fault where the split is optional."""


class Example(NamedTuple):
    """One example. `label` is the file's own word or number, None in a test set.

    For token classification `text` is the words and `label` their tags, both with a space between.
    """

    index: int
    text: str
    text_pair: str | None
    label: str | None


class Split:
    """The examples of one part of a task. Each iteration reads them; none are held in memory, but for SQuAD and TensorFlow
    Datasets, whose rows are sorted first. `len` reads them once.

    Args:
        name: "train", "dev", ...
        source: where the examples come from, for messages.
        rows: called for each pass; yields the examples.
        has_tags: the label of an example is a tag for each word of its text.
    """

    def __init__(self, name: str, source: str, rows: Callable[[], Iterator[Example]], has_tags: bool = False):
        self.name = name
        self.source = source
        self.has_tags = has_tags
        self._rows = rows
        self._count: int | None = None

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    def __bool__(self) -> bool:
        return True  # without reading the rows

    def __iter__(self) -> Iterator[Example]:
        return self._rows()

    def first(self) -> Example:
        """The first row; InputError if there is none."""
        for row in self:
            return row
        raise InputError(f"{self.source}: the split {self.name!r} has no rows")

    def limit(self, count: int | None) -> "Split":
        """The first `count` rows; all of them for None. InputError for a negative number or a fraction."""
        if count is None:
            return self
        count = whole_number("count", count, 0)
        return Split(self.name, self.source, lambda: itertools.islice(iter(self), count), self.has_tags)

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
    def unlabelled(self) -> Split:
        """Texts without labels, of `CustomFiles.unlabelled_file`."""
        return self.split("unlabelled")

    @property
    def test(self) -> Split:
        return self.split(self.task.test_splits[0])

    def dev_splits(self) -> list[Split]:
        """The dev set that selects the best model, then further dev sets that are scored, if present."""
        return self._present(self._dev_names())

    def test_splits(self) -> list[Split]:
        """The test sets; the first is required."""
        return self._present(self.task.test_splits)

    def _dev_names(self) -> Sequence[str]:
        if not self.task.dev_splits:
            raise MissingSplit(f"task {self.task.name} has no dev set: its labels are not public; predict it instead")
        return self.task.dev_splits

    def _present(self, names: Sequence[str]) -> list[Split]:
        splits = [self.split(names[0])]
        for name in names[1:]:
            try:
                splits.append(self.split(name))
            except InputError as error:
                logger.info("%s is left out: %s", name, error)
        return splits


def uniform_sample(rows: Iterable[_Row], count: int, seed: int = 0) -> list[_Row]:
    """`count` rows sampled uniformly in one pass (Vitter's algorithm R); all of them if there are fewer.

    >>> uniform_sample(range(3), 5)
    [0, 1, 2]
    """
    generator, kept = random.Random(seed), []
    for number, row in enumerate(rows):
        if number < count:
            kept.append(row)
        elif (place := generator.randrange(number + 1)) < count:
            kept[place] = row
    return kept
