"""Faults and statistics of a task's data, and the score of a simple baseline."""

import collections
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinybert_tf.data import Example, Task, TaskData, Tokenizer
from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.data.split import MissingSplit
from tinybert_tf.data.tokenizer import check_tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import word_scores
from tinybert_tf.evaluate.logits import MUCH_TRUNCATED
from tinybert_tf.settings import check_at_least_one, nested, setting

_FEW_ROWS = 8  # fewer examples of a class are hardly learned
_MOST_OF_ALL = 0.9  # share of one class above which accuracy says little
_HELD_OUT = 10  # without a dev set every tenth training row is scored
_CHUNK = 1024

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DescribeSettings:
    """Settings of bin/describe.py."""

    data: DataSettings = nested(DataSettings)
    vocab: str | None = setting(None, "a model directory or a vocab.txt, for lengths in tokens; absent: in words")
    max_train_examples: int | None = setting(None, "describe only the first rows of the training set")

    def __post_init__(self):
        check_at_least_one(self, "max_train_examples")


def describe_task(settings: DescribeSettings) -> dict[str, Any]:
    """See `describe`; the result of bin/describe.py."""
    tokenizer = None
    if settings.vocab is not None:
        tokenizer = settings.data.open_tokenizer(settings.vocab)
    return describe(
        settings.data.load(),
        tokenizer=tokenizer,
        seq_len=settings.data.seq_len,
        max_train_examples=settings.max_train_examples,
    )


def describe(
    data: TaskData,
    *,
    tokenizer: Tokenizer | None = None,
    seq_len: int | None = None,
    max_train_examples: int | None = None,
) -> dict[str, Any]:
    """Counts, lengths and faults of a task's training and dev sets, and what a linear model scores on them.

    >>> from tinybert_tf.data import task_from_lists
    >>> texts, labels = ["a fine day", "it rains", "a fine day"] * 9, ["good", "bad", "bad"] * 9
    >>> result = describe(task_from_lists(texts, labels, dev_texts=["it rains"], dev_labels=["bad"]))
    >>> _, complaint, *_ = result["complaints"]
    >>> print(result["rows"], result["classes"], complaint)
    27 2 18 training rows have a text that other rows give another label: 'a fine day'

    Args:
        data: a task; see `load_task`, `task_from_lists`.
        tokenizer: a model's, for lengths in tokens; without one they are in words.
        seq_len: the length that texts are truncated to, by default the task's.
        max_train_examples: read only the first rows of the training set.

    Returns:
        `task`; `rows`, `dev_rows`, `classes` (0 but for classification and tags), integers; `label_counts` {label: rows};
        `lengths` {"median", "p95", "longest", "truncated" (a share)}; `baseline_score` and `majority_score`, the main metric
        from 0 to 1 (None for questions, and for a single row) of TF-IDF with logistic or ridge regression, for tags of each
        word's most frequent tag, and of the most frequent label; `complaints`, a list of sentences.

    Raises:
        InputError: a malformed row, or no rows.
    """
    if max_train_examples is not None:
        max_train_examples = whole_number("max_train_examples", max_train_examples, 1)
    if tokenizer is not None:
        check_tokenizer(tokenizer)
    task, train = data.task, list(data.train.limit(max_train_examples))
    if not train:
        raise InputError(f"{data.train.source}: there are no rows to describe")
    try:
        dev = list(data.dev)
    except MissingSplit as error:
        logger.info("no dev set (%s); every %dth training row is scored instead", error, _HELD_OUT)
        dev = []
    result: dict[str, Any] = {"task": task.name, "rows": len(train), "dev_rows": len(dev), "classes": len(task.labels)}
    if task.kind == "span":
        rows = [Example(n, row.question, row.context, None) for n, row in enumerate(train)]
        result |= {"label_counts": {}, "lengths": _lengths(rows, tokenizer, seq_len or task.seq_len)}
        return result | {"baseline_score": None, "majority_score": None, "complaints": _text_faults(rows, [])}
    result["label_counts"] = _label_counts(task, train)
    result["lengths"] = lengths = _lengths(train, tokenizer, seq_len or task.seq_len)
    complaints = [*_text_faults(train, dev), *_label_faults(task, result["label_counts"], dev)]
    if lengths["truncated"] > MUCH_TRUNCATED:
        unit = "tokens" if tokenizer else "words"
        complaints.append(
            f"{lengths['truncated']:.0%} of the training texts are longer than {seq_len or task.seq_len} {unit}"
        )
    fitted, scored = (train, dev) if dev else _held_out(train)
    if not fitted:  # a single row
        return result | {"baseline_score": None, "majority_score": None, "complaints": complaints}
    scores = word_scores(task, fitted, scored)
    result |= {"baseline_score": scores[0], "majority_score": scores[1]}
    if scores[0] <= scores[1]:
        complaints.append(
            f"a linear model scores {scores[0]:.3f} {task.main_metric}, no more than the most frequent answer ({scores[1]:.3f}): "
            "labels may not depend on the texts"
        )
    return result | {"complaints": complaints}


def _label_counts(task: Task, rows: Sequence[Example]) -> dict[str, int]:
    if task.kind == "regression":
        return {}
    labels = (
        label
        for row in rows
        for label in (row.label.split(" ") if task.kind == "token_classification" else [row.label])
    )
    counts = collections.Counter(labels)
    return {label: counts[label] for label in task.labels}


def _lengths(rows: Sequence[Example], tokenizer: Tokenizer | None, seq_len: int) -> dict[str, float]:
    """Lengths of whole inputs, with special tokens if there is a tokenizer."""
    columns = [[row.text for row in rows], [row.text_pair for row in rows if row.text_pair is not None]]
    lengths = sum(_count(column, tokenizer) for column in columns if column)
    lengths += (1 + sum(map(bool, columns))) * (tokenizer is not None)
    return {
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": int(lengths.max()),
        "truncated": float((lengths > seq_len).mean()),
    }


def _count(texts: list[str], tokenizer: Tokenizer | None) -> np.ndarray:
    if tokenizer is None:
        return np.array([len(text.split()) for text in texts])
    chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    return np.concatenate([tokenizer.tokenize(chunk).row_lengths().numpy() for chunk in chunks])


def _text_faults(train: Sequence[Example], dev: Sequence[Example]) -> list[str]:
    complaints = []
    by_text: dict[tuple, list[Example]] = {}
    for row in train:
        by_text.setdefault(_key(row), []).append(row)
    repeated = [rows for rows in by_text.values() if len(rows) > 1]
    same = sum(len(rows) - len({row.label for row in rows}) for rows in repeated)
    if same:
        complaints.append(f"{same} training rows repeat an earlier row")
    other = [rows for rows in repeated if len({row.label for row in rows}) > 1]
    if other:
        count = sum(map(len, other))
        complaints.append(
            f"{count} training rows have a text that other rows give another label: {_shown(other[0][0])}"
        )
    leaked = [row for row in dev if _key(row) in by_text]
    if leaked:
        complaints.append(f"{len(leaked)} of {len(dev)} dev rows are in the training set too: {_shown(leaked[0])}")
    for name, rows in (("training", train), ("dev", dev)):
        empty = sum(not row.text.strip() or (row.text_pair is not None and not row.text_pair.strip()) for row in rows)
        if empty:
            complaints.append(f"{empty} {name} rows have an empty text")
        broken = [row for row in rows if "\ufffd" in row.text + (row.text_pair or "")]
        if broken:
            complaints.append(f"{len(broken)} {name} rows have characters that were lost (U+FFFD): {_shown(broken[0])}")
    return complaints


def _key(row: Example) -> tuple:
    return tuple(" ".join(text.casefold().split()) for text in (row.text, row.text_pair) if text is not None)


def _shown(row: Example) -> str:
    text = " | ".join(text for text in (row.text, row.text_pair) if text is not None)
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _label_faults(task: Task, counts: dict[str, int], dev: Sequence[Example]) -> list[str]:
    complaints = []
    few = [label for label, count in counts.items() if count < _FEW_ROWS]
    if few:
        complaints.append(
            f"{len(few)} of {len(counts)} labels have fewer than {_FEW_ROWS} training rows: {', '.join(few[:10])}"
        )
    total = max(1, sum(counts.values()))
    label = max(counts, key=counts.get, default=None)
    if task.kind == "classification" and counts[label] > _MOST_OF_ALL * total:
        complaints.append(
            f"{counts[label] / total:.0%} of the training rows have the label {label!r}: accuracy says little, take a "
            "`main_metric` such as macro_f1 and `class_weights=balanced`"
        )
    missing = set(counts) - {row.label for row in dev}
    if task.kind == "classification" and dev and missing:
        complaints.append(f"{len(missing)} labels are in no dev row: {', '.join(sorted(missing)[:10])}")
    if task.unseen:
        complaints.append(f"dev has tags that training lacks: {', '.join(task.unseen)}")
    return complaints


def _held_out(rows: list[Example]) -> tuple[list[Example], list[Example]]:
    return [row for n, row in enumerate(rows) if n % _HELD_OUT], rows[::_HELD_OUT]
