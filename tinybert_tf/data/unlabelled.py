"""Texts without labels, which a teacher labels."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from tinybert_tf.data.split import Example, Split
from tinybert_tf.data.tables import read_text_lines
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

_LINES_TO_RECOGNIZE = 100


def unlabelled_split(task: Task, path: Path, read: Callable[[Path], Iterator[Example]]) -> Split:
    """The texts of a file, as rows without labels.

    Args:
        task: what the texts are for.
        path: .txt, or what `read` reads.
        read: reads the rows of any other file, without labels.

    Raises:
        InputError: (when it is read) a plain text file for pairs, a table or CoNLL's columns in a .txt for words to tag, and
            whatever cannot be read.
    """
    are_words, kind = task.kind == "token_classification", path.suffix.lower()

    def rows() -> Iterator[Example]:
        if are_words and kind in (".csv", ".jsonl"):
            raise InputError(
                f"{path}: words to tag are read from .txt (a text a line) or CoNLL's layout, not from {kind}"
            )
        if kind != ".txt":
            yield from read(path)
            return
        if task.text_pair is not None:
            raise InputError(f"{path}: a .txt file holds single texts; pairs need a .csv, .tsv or .jsonl file")
        if are_words and _has_tags(path, task):
            raise InputError(
                f"{path}: its lines end in tags, so it is in CoNLL's layout and not a text a line; name it .conll"
            )
        index = -1
        for index, (_, text) in enumerate(read_text_lines(path)):
            yield Example(index, " ".join(text.split()) if are_words else text, None, None)
        if index < 0:
            raise InputError(f"{path}: no rows")

    return Split("unlabelled", str(path), rows)


def _has_tags(path: Path, task: Task) -> bool:
    """Whether the first lines of a text file all end in a tag of the task, with a word before it."""
    first = [text.split() for _, text in itertools.islice(read_text_lines(path), _LINES_TO_RECOGNIZE)]
    return bool(first) and all(len(fields) > 1 and fields[-1] in task.labels for fields in first)
