"""Encodes examples as tokens, labels and weights, by the kind of task."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tinybert_tf.data.split import Example, Split
from tinybert_tf.data.tasks import Task
from tinybert_tf.data.tokenizer import Tokenizer, without_autograph
from tinybert_tf.errors import InputError

# Examples that are read and tokenized at a time: large enough to make Python's overhead negligible.
CHUNK = 1024


class Rows(NamedTuple):
    """Encoded rows of one chunk; `(len)` is a row's own number of tokens.

    Attributes:
        word_ids, type_ids: ragged int32 [rows, (len)].
        label, weight: int32 (float32 for regression) and float32 [rows]; for token classification [rows, (len)] both, where
            a word's first token has its tag and weight 1, and every other position weight 0.
        number: int32 [rows], the row's place in the split.
    """

    word_ids: tf.RaggedTensor
    type_ids: tf.RaggedTensor
    label: tf.Tensor | tf.RaggedTensor
    weight: tf.Tensor | tf.RaggedTensor
    number: tf.Tensor


def refuse_questions(task: Task) -> None:
    """Raises InputError for SQuAD, whose rows are no `Example`s."""
    if task.kind == "span":
        raise InputError(
            f"task {task.name} has questions and answers, not texts and labels; `tinybert_tf.data.spans.SpanFeatures(split, "
            "tokenizer, seq_len).batches(batch_size=...)` makes their batches"
        )


def encoded_rows(
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    seq_len: int,
    ids: Mapping[str, int],
    label_weights: Mapping[str, float] | None = None,
) -> tf.data.Dataset:
    """The rows of a split, encoded, one at a time: `Rows` without their first dimension; see `encoded_chunks`."""
    rows = encoded_chunks(split, tokenizer, task, seq_len, ids, label_weights).unbatch()
    return rows.map(without_autograph(lambda row: Rows(*map(_as_tensor, row))))


def encoded_chunks(
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    seq_len: int,
    ids: Mapping[str, int],
    label_weights: Mapping[str, float] | None = None,
) -> tf.data.Dataset:
    """The rows of a split, encoded, `CHUNK` at a time.

    `label_weights`: label word -> weight of its rows, for classification.
    """
    weights = None
    if label_weights is not None:
        weights = np.ones(max(ids.values()) + 1, np.float32)
        for word, weight in label_weights.items():
            weights[ids[word]] = weight
    per_word = task.kind == "token_classification"
    text = tf.TensorSpec([None], tf.string)
    label = tf.TensorSpec([None], tf.float32 if task.kind == "regression" else tf.int32)
    if per_word:
        label = tf.RaggedTensorSpec([None, None], tf.int32, ragged_rank=1)
    signature = (text, text, label, tf.TensorSpec([None], tf.int32))

    @without_autograph
    def encode(texts, pairs, labels, numbers):
        if per_word:
            return Rows(*encode_words(tokenizer, texts, labels, seq_len, len(task.labels)), numbers)
        word_ids, type_ids = tokenizer.encode(texts, pairs if task.text_pair is not None else None, seq_len)
        weight = tf.ones_like(labels, tf.float32) if weights is None else tf.gather(tf.constant(weights), labels)
        return Rows(word_ids, type_ids, labels, weight, numbers)

    chunks = tf.data.Dataset.from_generator(lambda: _chunks(split, task, ids), output_signature=signature)
    return chunks.map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def encode_words(
    tokenizer: Tokenizer, texts, labels, seq_len: int, classes: int | None = None
) -> tuple[tf.RaggedTensor, ...]:
    """Words with a space between them [rows], and a label a word, ragged [rows, (words)] -> (word ids, type ids, labels,
    weights), ragged [rows, (<= seq_len)].

    The label of a word is at its first token, which is [UNK] if the tokenizer removes the whole word. Labels from
    `classes` on, which no network predicts, have weight 0.
    """
    words = tf.strings.split(texts, " ")
    pieces = tokenizer.tokenize(words.flat_values)  # [all words, (pieces)]
    is_nothing = tf.cast(pieces.row_lengths() == 0, tf.int64)
    unknown = tf.fill([tf.reduce_sum(is_nothing)], tokenizer.unk_id)
    pieces = tf.concat([pieces, tf.RaggedTensor.from_row_lengths(unknown, is_nothing)], axis=1)

    word_of_piece = pieces.value_rowids()
    is_first = tf.range(tf.size(word_of_piece, tf.int64)) == tf.gather(pieces.row_starts(), word_of_piece)
    label = tf.gather(labels.flat_values, word_of_piece)
    counts = is_first if classes is None else is_first & (label < classes)
    label = tf.where(counts, label, 0)

    def of_rows(values) -> tf.RaggedTensor:
        """Values of all tokens -> those of each row, cut to what fits between [CLS] and [SEP]."""
        row_splits = tf.gather(pieces.row_splits, words.row_splits)
        return tf.RaggedTensor.from_row_splits(values, row_splits)[:, : seq_len - 2]

    def enclosed(first, rows: tf.RaggedTensor, last) -> tf.RaggedTensor:
        column = [rows.nrows(), 1]
        return tf.concat([tf.fill(column, first), rows, tf.fill(column, last)], axis=1)

    word_ids = enclosed(tokenizer.cls_id, of_rows(pieces.flat_values), tokenizer.sep_id)
    labels = enclosed(0, of_rows(label), 0)
    weights = enclosed(0.0, of_rows(tf.cast(counts, tf.float32)), 0.0)
    return word_ids, tf.zeros_like(word_ids), labels, weights


def label_values(examples: Sequence[Example], task: Task, ids: Mapping[str, int]) -> np.ndarray | list[np.ndarray]:
    """The labels of rows, 0 for rows without one: [rows], for token classification an array [words] a row.

    Raises:
        InputError: a task of questions.
    """
    refuse_questions(task)
    if task.kind == "token_classification":
        return [
            np.asarray([ids[tag] for tag in row.label.split(" ")], np.int32)
            if row.label is not None
            else np.zeros(row.text.count(" ") + 1, np.int32)
            for row in examples
        ]
    if task.kind == "regression":
        return np.asarray([0.0 if row.label is None else float(row.label) for row in examples], np.float32)
    return np.asarray([0 if row.label is None else ids[row.label] for row in examples], np.int32)


def _chunks(split: Split, task: Task, ids: Mapping[str, int]) -> Iterator[tuple]:
    start = 0
    for chunk in split.chunks(CHUNK):
        labels = label_values(chunk, task, ids)
        if task.kind == "token_classification":
            labels = tf.RaggedTensor.from_row_lengths(np.concatenate(labels), [len(row) for row in labels])
        texts, pairs = [row.text for row in chunk], [row.text_pair or "" for row in chunk]
        yield texts, pairs, labels, np.arange(start, start + len(chunk), dtype=np.int32)
        start += len(chunk)


def _as_tensor(value) -> tf.Tensor:
    """A row of a ragged tensor as a vector."""
    return tf.ensure_shape(tf.convert_to_tensor(value), [None]) if isinstance(value, tf.RaggedTensor) else value
