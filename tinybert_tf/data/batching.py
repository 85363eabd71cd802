"""From rows to batches: tokenized in the graph, grouped by length, never dropped."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tinybert_tf.data.encoding import Rows, encoded_rows
from tinybert_tf.data.split import Split
from tinybert_tf.data.tasks import Task, label_ids
from tinybert_tf.data.tokenizer import Tokenizer

SHUFFLE_BUFFER = 100_000
# Rows are sorted by length over this many batches: enough that hardly any batch holds two lengths.
WINDOW_BATCHES = 64


def length_buckets(seq_len: int) -> tuple[int, ...]:
    """The lengths that batches are padded to, up to `seq_len`: multiples of 4, above 64 of 8, above 128 of 32."""
    lengths = (*range(4, 64, 4), *range(64, 128, 8), *range(128, seq_len, 32))
    return (*(length for length in lengths if length < seq_len), seq_len)


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
    row_numbers: bool = False,
) -> tf.data.Dataset:
    """Batches `(features, label, weight)` for Keras.

    Each batch holds rows of similar length and is padded to the next of `buckets`. It always has `batch_size` rows: one of
    the last window is filled up with rows of weight 0, so nothing is dropped and shapes stay static.

    Args:
        split: the rows.
        tokenizer: the model's.
        task: says what the labels are.
        batch_size: rows in a batch.
        seq_len: longest length in tokens, by default the task's; what is longer is cut.
        ids: label word -> id, by default the task's own order (`label_ids`).
        shuffle_seed: None keeps rows of a similar length in their order. Otherwise each epoch has its own order, which this
            and TensorFlow's global seed decide alone.
        epochs: passes over the rows. Epochs flow into each other: a batch may hold the end of one and the beginning of the
            next.
        buckets: lengths to pad to; `(seq_len,)` pads everything to the full length.
        row_numbers: add the number of each row in the split as a fourth element, int32 [batch_size], -1 for filling.

    Returns:
        features: `input_word_ids`, `input_mask`, `input_type_ids`, int32 [batch_size, bucket];
        label: int32 [batch_size], float32 for regression, 0 where there is none; weight: float32 [batch_size], 1 or 0.
        For token classification label and weight are [batch_size, bucket]: the weight is 1 at the first piece of a word.
    """
    seq_len = seq_len or task.seq_len
    lengths = tf.constant(tuple(buckets or length_buckets(seq_len)), tf.int64)
    rows = encoded_rows(split, tokenizer, task, seq_len, label_ids(task, None) if ids is None else ids)
    if shuffle_seed is not None:
        rows = rows.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=True)
    windows = rows.repeat(epochs).ragged_batch(WINDOW_BATCHES * batch_size).enumerate()

    def cut(number, window: Rows) -> tf.data.Dataset:
        """A window's batches: its rows from the shortest to the longest, a batch at a time, the batches in random order."""
        order = tf.argsort(tf.searchsorted(lengths, window.word_ids.row_lengths()), stable=True)
        begins = tf.range(0, tf.size(order), batch_size)
        if shuffle_seed is not None:
            keys = tf.random.stateless_uniform(tf.shape(begins), [shuffle_seed, number])
            begins = tf.gather(begins, tf.argsort(keys))
        chosen = tf.data.Dataset.from_tensor_slices(begins).map(lambda begin: order[begin : begin + batch_size])
        return chosen.map(lambda places: Rows(*(tf.gather(values, places) for values in window)))

    def pad(batch: Rows):
        longest = batch.word_ids.bounding_shape(axis=1)
        length = lengths[tf.searchsorted(lengths, [longest])[0]]

        def filled(values, filling=0):
            """What has a token's size [batch_size, length], what has a row's [batch_size]; `filling` where there is none."""
            if isinstance(values, tf.RaggedTensor):
                values = values.to_tensor(filling, shape=tf.stack([batch_size, length]))
                return tf.ensure_shape(values, [batch_size, None])
            values = tf.pad(values, [[0, batch_size - tf.size(values)]], constant_values=filling)
            return tf.ensure_shape(values, [batch_size])

        features = {
            "input_word_ids": filled(batch.word_ids, tokenizer.pad_id),
            "input_mask": filled(tf.ones_like(batch.word_ids)),
            "input_type_ids": filled(batch.type_ids),
        }
        padded = (features, filled(batch.label), filled(batch.weight))
        return (*padded, filled(batch.number, -1)) if row_numbers else padded

    return windows.flat_map(cut).map(pad, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def count_batches(
    split: Split, tokenizer: Tokenizer, task: Task, *, batch_size: int, epochs: int = 1, **others
) -> tuple[int, int]:
    """(rows, batches): what `batches`, whose arguments this takes, will yield. Reading the rows finds every malformed one."""
    del tokenizer, task, others
    rows = sum(1 for _ in split)
    return rows, -(-rows * epochs // batch_size)
