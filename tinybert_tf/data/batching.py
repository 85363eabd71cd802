"""From rows to batches: tokenized in the graph, grouped by length, never dropped."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tinybert_tf.data.glue import Example, Split
from tinybert_tf.data.tasks import Task, label_ids
from tinybert_tf.data.tokenizer import Tokenizer

# Rows are read and tokenized this many at a time: large enough that Python's share vanishes.
CHUNK = 1024
SHUFFLE_BUFFER = 100_000
_BUCKETS = (8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512)


def length_buckets(seq_len: int) -> tuple[int, ...]:
    """The lengths that batches are padded to, up to `seq_len`."""
    return (*(length for length in _BUCKETS if length < seq_len), seq_len)


def batches(
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
    shuffle_seed: int | None = None,
    epochs: int = 1,
    buckets: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Batches `(features, label, weight)` for Keras.

    Each batch holds rows of similar length and is padded to the next of `buckets`. It always has `batch_size` rows: what
    remains of a bucket in the end is filled up with rows of weight 0, so nothing is dropped and shapes stay static.

    Args:
        split: the rows.
        tokenizer: the model's.
        task: says what the labels are.
        batch_size: rows in a batch.
        seq_len: longest length in tokens, by default the task's; what is longer is cut.
        ids: label word -> id, by default the task's own order (`label_ids`).
        shuffle_seed: None keeps the rows' order within each bucket. Otherwise each epoch has its own order.
        epochs: passes over the rows. Epochs flow into each other: only the last batches are filled up.
        buckets: lengths to pad to; `(seq_len,)` pads everything to the full length.

    Returns:
        features: `input_word_ids`, `input_mask`, `input_type_ids`, int32 [batch_size, bucket];
        label: int32 [batch_size], float32 for regression, 0 where there is none; weight: float32 [batch_size], 1 or 0.
    """
    indexed = indexed_batches(
        split,
        tokenizer,
        task,
        batch_size=batch_size,
        seq_len=seq_len,
        ids=ids,
        shuffle_seed=shuffle_seed,
        epochs=epochs,
        buckets=buckets,
    )
    return indexed.map(lambda features, label, weight, index: (features, label, weight))


def indexed_batches(
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
    shuffle_seed: int | None = None,
    epochs: int = 1,
    buckets: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """As `batches`, with the number of each row in the split as a fourth element, int32 [batch_size], -1 for filling."""
    seq_len = seq_len or task.seq_len
    buckets = tuple(buckets or length_buckets(seq_len))
    ids = label_ids(task, None) if ids is None else ids
    has_pairs = task.text_pair is not None

    def encode(texts, pairs, labels, numbers):
        word_ids, type_ids = tokenizer.encode(texts, pairs if has_pairs else None, seq_len)
        return word_ids, type_ids, labels, numbers

    label_type = tf.float32 if task.kind == "regression" else tf.int32
    vector = tf.TensorSpec([None], tf.string)
    signature = (vector, vector, tf.TensorSpec([None], label_type), tf.TensorSpec([None], tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: _chunks(split, task, ids), output_signature=signature)
    dataset = dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).unbatch()
    dataset = dataset.map(lambda word_ids, type_ids, *rest: (_row(word_ids), _row(type_ids), *rest))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=True)
    dataset = dataset.repeat(epochs)
    dataset = dataset.bucket_by_sequence_length(
        lambda word_ids, *rest: tf.shape(word_ids)[0],
        bucket_boundaries=[length + 1 for length in buckets],
        bucket_batch_sizes=[batch_size] * (len(buckets) + 1),
        padded_shapes=([None], [None], [], []),
        padding_values=(tokenizer.pad_id, 0, tf.zeros((), label_type), -1),
        pad_to_bucket_boundary=True,
    )

    def finish(word_ids, type_ids, labels, numbers):
        missing = batch_size - tf.shape(word_ids)[0]

        def fill(tensor, value=0):
            padding = [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1)
            filled = tf.pad(tensor, padding, constant_values=tf.cast(value, tensor.dtype))
            return tf.ensure_shape(filled, [batch_size] + [None] * (tensor.shape.rank - 1))

        numbers = fill(numbers, -1)
        word_ids = fill(word_ids, tokenizer.pad_id)
        features = {
            "input_word_ids": word_ids,
            "input_mask": tf.cast(word_ids != tokenizer.pad_id, tf.int32),
            "input_type_ids": fill(type_ids),
        }
        return features, fill(labels), tf.cast(numbers >= 0, tf.float32), numbers

    return dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def count_batches(
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
    epochs: int = 1,
    buckets: Sequence[int] | None = None,
) -> tuple[int, int]:
    """(rows, batches): what `batches` will yield. One pass over the rows, which also finds every malformed one."""
    seq_len = seq_len or task.seq_len
    buckets = np.asarray(tuple(buckets or length_buckets(seq_len)))
    ids = label_ids(task, None) if ids is None else ids
    rows = np.zeros(len(buckets), np.int64)
    for texts, pairs, _, _ in _chunks(split, task, ids):
        lengths = tokenizer.encode(texts, pairs if task.text_pair is not None else None, seq_len)[0].row_lengths()
        rows += np.bincount(np.searchsorted(buckets, lengths.numpy()), minlength=len(buckets))
    return int(rows.sum()), int(np.ceil(rows * epochs / batch_size).sum())


def _row(ids) -> tf.Tensor:
    """A row of a ragged tensor as the vector that it is."""
    return tf.ensure_shape(tf.convert_to_tensor(ids), [None])


def _chunks(split: Split, task: Task, ids: Mapping[str, int]) -> Iterator[tuple]:
    start = 0
    for chunk in split.chunks(CHUNK):
        texts = [example.text for example in chunk]
        pairs = [example.text_pair or "" for example in chunk]
        labels = np.asarray(
            [_label_value(example, ids) for example in chunk],
            np.float32 if task.kind == "regression" else np.int32,
        )
        yield texts, pairs, labels, np.arange(start, start + len(chunk), dtype=np.int32)
        start += len(chunk)


def _label_value(example: Example, ids: Mapping[str, int]) -> float | int:
    if example.label is None:
        return 0
    return ids[example.label] if ids else float(example.label)
