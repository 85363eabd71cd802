"""The labels of the user's own data: which there are, and what cannot be one."""

import collections
import itertools
import logging
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from tinybert_tf.data.glue import checked_score
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

# Python refuses to parse integers of thousands of digits; no class has such a name.
_LONGEST_NUMBER = 20
# Separators of several labels in one row.
_JOINTS = ",;|/+&#"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
# A list that was written as text, and a row of 0 and 1 for each of several classes.
_LIST = re.compile(r"""[\[({].*,.*[\])}]|[\[({]['"].*[\])}]""")
_INDICATORS = re.compile(r"[01]( [01])+")
# What pandas writes for a missing value.
MISSING = ("nan", "<na>")

logger = logging.getLogger(__name__)


def sorted_labels(source: str, labels: Iterable[str], are_whole: bool = False) -> tuple[str, ...]:
    """The different labels in order: as numbers if they are integers, else by their characters.

    Args:
        source: where they are from, for messages.
        labels: of all rows.
        are_whole: labels that look like several joined ones are classes of their own.

    Raises:
        InputError: there is one label only, one that joins others, or a number that is written in two ways.
    """
    counts = collections.Counter(labels)
    if len(counts) < 2:
        raise InputError(f"{source}: every label is {next(iter(counts))!r}; a classifier needs two at least")
    if not are_whole and (joined := _joined(counts)):
        raise InputError(
            f"{source}: {counts[joined]} rows have the label {joined!r}, which is a list of others; several labels for one text "
            "are not supported: train a model for each, or take `label_separator=none` if it is a class of its own"
        )
    _check_alike(source, counts)
    are_integers = all(label.removeprefix("-").isdecimal() and len(label) < _LONGEST_NUMBER for label in counts)
    return tuple(sorted(counts, key=lambda label: (int(label) if are_integers else 0, label)))


def distinct_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels that were given in the order of their ids.

    Raises:
        InputError: none, one that is not a text, or one twice.
    """
    if not labels:
        raise InputError("is empty; give the labels in the order of their ids", "labels")
    for number, label in enumerate(labels):
        if not isinstance(label, str):
            raise InputError(f"labels[{number}] is a {type(label).__name__}, not a text")
        if label in labels[:number]:
            raise InputError(f"has {label!r} twice; give each label once, in the order of their ids", "labels")
    return tuple(map(str, labels))


def _check_alike(source: str, counts: Mapping[str, int]) -> None:
    """Raises InputError for two labels that are the same number, and logs those that only look the same."""
    numbers: dict[Decimal, str] = {}
    looks: dict[str, str] = {}
    for label in sorted(counts, key=len):
        same = numbers.setdefault(Decimal(label), label) if _NUMBER.fullmatch(label) else label
        if same != label:
            raise InputError(
                f"{source}: {counts[same]} rows have the label {same!r} and {counts[label]} have {label!r}, the same number; "
                "write it in one way"
            )
        visible = "".join(c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf")
        same = looks.setdefault(" ".join(visible.casefold().split()), label)
        if same != label:
            logger.warning(
                "%s: the labels %a (%d rows) and %a (%d) differ in case or in characters that do not show; they are two classes",
                source, same, counts[same], label, counts[label],
            )  # fmt: skip


def _joined(labels: Collection[str]) -> str | None:
    """A label that is a list of other labels: its parts are labels themselves, or also parts of other labels."""
    for joint in _JOINTS:
        parts = {label: [part.strip() for part in label.split(joint) if part.strip()] for label in labels}
        counts = collections.Counter(itertools.chain.from_iterable(map(set, parts.values())))
        for label, of_label in parts.items():
            if len(of_label) > 1 and all(counts[part] > 1 for part in of_label):
                return label
    if all(map(_INDICATORS.fullmatch, labels)):
        return next(iter(labels))
    are_labels = lambda words: len(words) > 1 and all(word in labels for word in words)
    return next((label for label in labels if _LIST.fullmatch(label) or are_labels(label.split())), None)


def checked_label(where: str, label: str, task: Task) -> str:
    """A label that the task can have, without spaces around it.

    Args:
        where: file and row, for messages.
        label: as it was read.
        task: whose kind and labels decide.

    Raises:
        InputError: it is empty, has a line break in it, is not a number, or is not one of the task's.
    """
    label = label.strip()
    if not label:
        raise InputError(f"{where}: the label is empty (column {task.label!r}); fill it in or remove the row")
    if task.kind == "regression":
        return checked_score(where, label)
    if label.lower() in MISSING:
        raise InputError(
            f"{where}: the label is {label!r}, which stands for a missing value; fill it in or remove the row"
        )
    if len(label.splitlines()) > 1:
        raise InputError(
            f"{where}: the label {label!r} has a line break in it, which no file of labels can hold; rename it"
        )
    if task.labels and label not in task.labels:
        raise InputError(f"{where}: unknown label {label!r}; training had {', '.join(task.labels)}")
    return label
