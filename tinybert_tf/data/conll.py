"""Token classification from files in CoNLL's layout: a word and its tag a line, a blank line between sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinybert_tf.data.custom import CustomFiles, file_splits, known_labels
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.split import Example, TaskData
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

_DOCUMENT_START = "-DOCSTART-"


def load_conll(files: CustomFiles, labels: Sequence[str] | None = None) -> TaskData:
    """The task that the files are, with the splits "train", "dev" and "test"; "test" is dev without its tags.

    Args:
        files: `train_file` and `dev_file`; the columns are CoNLL's.
        labels: the tags in the order of their ids; taken where no training file is given.

    Raises:
        InputError: with file and line, whatever cannot be read, and a tag that train does not have.
    """
    tags = lambda path: (tag for row in read_conll(path) for tag in row.label.split(" "))
    task = Task(
        "token_classification", "token_classification", "", known_labels(files, labels, tags), 0, None, -1,
        ("f1", "precision", "recall", "accuracy"),
    )  # fmt: skip
    return file_splits(
        task, files, lambda path, has_tags: read_conll(path, task.labels if has_tags else None, has_tags)
    )


def read_conll(path: Path, tags: Sequence[str] | None = None, has_tags: bool = True) -> Iterator[Example]:
    """The sentences of a file; columns are separated by tabs or spaces, the first is the word, the last its tag.

    Args:
        path: the file.
        tags: those that may stand there; None allows all.
        has_tags: False reads the words alone.
    """
    words, labels, index = [], [], 0
    for number, line in numbered_lines(path):
        fields = line.split("\t") if "\t" in line else line.split(" ")
        fields = [field for field in (field.strip(" \r\n") for field in fields) if field]
        if fields and fields[0] != _DOCUMENT_START:
            words.append(_without_space(path, number, fields[0]))
            if has_tags:
                labels.append(_tag(path, number, fields, tags))
        elif words:
            yield Example(index, " ".join(words), None, " ".join(labels) if has_tags else None)
            words, labels, index = [], [], index + 1
    if words:
        yield Example(index, " ".join(words), None, " ".join(labels) if has_tags else None)
    elif not index:
        raise InputError(f"{path}: no sentences")


def _tag(path: Path, number: int, fields: list[str], tags: Sequence[str] | None) -> str:
    if len(fields) < 2:
        raise InputError(f"{path}, line {number}: {fields[0]!r} has no tag; a line holds a word and, last, its tag")
    if tags is not None and fields[-1] not in tags:
        raise InputError(f"{path}, line {number}: unknown tag {fields[-1]!r}; training had {', '.join(tags)}")
    return _without_space(path, number, fields[-1])


def _without_space(path: Path, number: int, field: str) -> str:
    if " " in field:
        raise InputError(f"{path}, line {number}: {field!r} holds a space; a line is for one word")
    return field
