"""Scores and predictions of a network in memory or in a directory: `tb.evaluate` and `tb.predict`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.special

from tinybert_tf.bert import BertModel, BiLstmModel, whole_network
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Example, Split, Task, TaskData, Tokenizer, load_task
from tinybert_tf.data.batching import check_fits
from tinybert_tf.data.checks import as_list, whole_number
from tinybert_tf.data.lines import whole_characters
from tinybert_tf.data.tokenizer import check_tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import Logits, checked_seq_len, predict_logits, predicted_tags
from tinybert_tf.evaluate.task_model import TaskModel

# Default for text without a task.
_RAW_TEXT_LENGTH = 128


def evaluate(
    model: BertModel | str | Path,
    task: str | TaskData,
    data_dir: str | Path | None = None,
    *,
    split: str | None = None,
    tokenizer: Tokenizer | None = None,
    seq_len: int | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """The task's metrics of a network, the main one first.

    ```python
    scores = tb.evaluate("runs/sst2/model", "sst2", "glue")
    scores = tb.evaluate(student, task_data, tokenizer=tokenizer)
    ```

    Args:
        model: a `BertModel`, a model directory or a preset.
        task: a name, see `load_task`, or what `load_task` returned.
        data_dir: of a task given by name.
        split: name of the split, by default the task's dev set.
        tokenizer: of a model in memory; a directory has its own.
        seq_len: longest length in tokens, by default the task's or, if it is less, the model's.
        batch_size: examples at a time.

    Returns:
        Name of the metric -> score from 0 to 1.

    Raises:
        InputError: a model and a task that do not fit each other, or a split without labels.
    """
    data = task if isinstance(task, TaskData) else load_task(task, data_dir)
    network, tokenizer = open_model(model, tokenizer)
    source = "the model" if isinstance(model, BertModel | BiLstmModel) else model
    trained = TaskModel.of(network, tokenizer, data, seq_len, batch_size, source)
    return trained.score(data.split(split) if split else data.dev)


def predict(
    model: BertModel | str | Path,
    texts: Split | str | Sequence[str],
    text_pairs: str | Sequence[str] | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    seq_len: int | None = None,
    batch_size: int = 64,
) -> np.ndarray | list[list[str]]:
    """Predictions in the order of the texts, one for each.

    ```python
    probabilities = tb.predict("runs/sst2/model", ["a fine film", "dull"])
    probabilities = tb.predict(student, task_data.dev, tokenizer=tokenizer)
    ```

    Args:
        model: a `BertModel`, a model directory or a preset, with a classification, regression or token classification head.
        texts: a split of a task, a text, or several.
        text_pairs: the second texts of pairs.
        tokenizer: of a model in memory; a directory has its own.
        seq_len: longest length in tokens, by default 128 or the model's positions.
        batch_size: examples at a time.

    Returns:
        float32 `[texts, labels]` probabilities in the order of the model's label ids, or `[texts, 1]` scores of a regression
        head; of a token classification head a list of tags for each text, one for each word (of a `Split`, between
        spaces U+0020), "O" for words that do not fit.

    Raises:
        InputError: a model without such a head, something that is no text, or unequal numbers of texts.
    """
    if isinstance(texts, TaskData):
        raise InputError("is a task; give one of its splits, such as `task.dev`", "texts")
    network, tokenizer = open_model(model, tokenizer)
    split = texts if isinstance(texts, Split) else _split_of(texts, text_pairs)
    are_words = isinstance(texts, Split)
    split, logits = predict_split(network, split, tokenizer, are_words, seq_len=seq_len, batch_size=batch_size)
    task = raw_task(network, split)
    if task.kind == "token_classification":
        return [predicted_tags(task, row) for row in logits]
    if task.kind == "regression":
        return logits
    return scipy.special.softmax(logits.astype(np.float64), axis=-1).astype(np.float32)


def open_model(
    model: BertModel | str | Path, tokenizer: Tokenizer | None = None, parameter: str = "model"
) -> tuple[BertModel, Tokenizer]:
    """A network with all weights of its head, and its tokenizer.

    Args:
        model: in memory, or a directory or preset.
        tokenizer: of a model in memory.
        parameter: the name of `model` in messages.

    Raises:
        InputError: a model in memory without a `Tokenizer`, or a directory without the weights of its head.
    """
    model = whole_network(model)
    if tokenizer is not None:
        check_tokenizer(tokenizer)
    if isinstance(model, BertModel | BiLstmModel):
        if tokenizer is None:
            raise InputError("is missing; a model in memory has none: Tokenizer.from_directory(...)", "tokenizer")
        return model, tokenizer
    if not isinstance(model, str | os.PathLike):
        kind = type(model).__name__
        raise InputError(f"is a {kind}; give a BertModel (of a Distiller its `student`) or a directory", parameter)
    directory = resolve_directory(model, parameter)
    return load_model(directory, strict_head=True), tokenizer or Tokenizer.from_directory(directory)


def predict_split(
    model: BertModel,
    split: Split,
    tokenizer: Tokenizer,
    are_words: bool = False,
    *,
    seq_len: int | None = None,
    batch_size: int = 64,
) -> tuple[Split, Logits]:
    """(split, logits) of text without a task; of words to tag, the split with single spaces between them.

    Args:
        model: with a classification, regression or token classification head.
        split: the texts.
        tokenizer: the model's.
        are_words: texts to tag are words with spaces between them, as those of a task; otherwise any space separates words.
        seq_len: longest length in tokens, by default 128 or the model's positions.
        batch_size: examples at a time.

    Raises:
        InputError: a model with another head, or a length that it cannot read.
    """
    if model.head not in ("classification", "regression", "token_classification"):
        raise InputError(f"the model has the head {model.head!r}, which predicts nothing about a text")
    if not isinstance(split.first(), Example):
        raise InputError(
            f"{split.source}: has questions and their contexts, not texts, which a {model.head} model reads"
        )
    unlabelled = Split(split.name, split.source, lambda: (row._replace(label=None) for row in split))
    if model.head == "token_classification":
        unlabelled = Split(split.name, split.source, lambda: (_single_spaces(row, are_words) for row in split))
    task = raw_task(model, split)
    positions = model.config.max_position_embeddings
    check_fits(tokenizer, model.config, None)
    length = checked_seq_len(model, min(_RAW_TEXT_LENGTH, positions) if seq_len is None else seq_len)
    options = {
        "batch_size": whole_number("batch_size", batch_size, 1),
        "seq_len": length,
        "ids": model.config.label2id or {},
    }
    logits, _ = predict_logits(model, unlabelled, tokenizer, task, **options)
    if model.head == "token_classification":  # an empty text counts as one word, which has no tag
        logits = [values if row.text else values[:0] for row, values in zip(unlabelled, logits, strict=True)]
    return unlabelled, logits


def raw_task(model: BertModel, split: Split) -> Task:
    """A task for text without one: the model's labels in the order of their ids."""
    label2id = model.config.label2id or {}
    labels = () if model.head == "regression" else tuple(sorted(label2id, key=label2id.get))
    pair = "text_pair" if split.first().text_pair is not None else None
    return Task("text", model.head, "", labels, "text", pair, "", ())


def answers(task: Task, split: Split, logits: Logits) -> Iterator[dict]:
    """What bin/predict.py writes for each example of a split."""
    for row, values in zip(split, logits, strict=True):
        answer = {"index": row.index, "text": row.text}
        if row.text_pair is not None:
            answer["text_pair"] = row.text_pair
        if task.kind == "token_classification":
            yield answer | {"prediction": predicted_tags(task, values)}
        elif task.kind == "regression":
            yield answer | {"prediction": float(values[0])}
        else:
            probabilities = scipy.special.softmax(values.astype(np.float64)).tolist()
            answer |= {"prediction": task.labels[int(values.argmax())]}
            yield answer | {"probabilities": dict(zip(task.labels, probabilities, strict=True))}


def _split_of(texts: str | Sequence[str], text_pairs: str | Sequence[str] | None) -> Split:
    listed = lambda name, values: [values] if isinstance(values, str) else as_list(name, values)
    first, has_pairs = listed("texts", texts), text_pairs is not None
    second = listed("text_pairs", text_pairs) if has_pairs else [None] * len(first)
    if len(first) != len(second) or not first:
        raise InputError(
            f"{len(first)} texts, but {len(second)} text pairs; give at least one text, each pair both of its texts"
        )
    for name, values, kinds in (("texts", first, str), ("text_pairs", second, str if has_pairs else None | str)):
        for number, value in enumerate(values):
            if not isinstance(value, kinds):
                raise InputError(f"{name}[{number}] is a {type(value).__name__}, not a text")
            whole_characters(value or "", f"{name}[{number}]")
    rows = [Example(number, *pair, None) for number, pair in enumerate(zip(first, second, strict=True))]
    return Split("texts", "texts", lambda: iter(rows))


def _single_spaces(row: Example, are_words: bool) -> Example:
    if row.text_pair is not None:
        raise InputError("a model that tags words reads single texts, not pairs")
    words = row.text.split(" ") if are_words else row.text.split()  # a word of CoNLL-U may hold another space, U+00A0
    return row._replace(text=" ".join(filter(None, words)), label=None)
