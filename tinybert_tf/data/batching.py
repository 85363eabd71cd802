"""Batches of a split: tokenized in the graph, grouped by length, no example dropped."""

import collections
import math
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.encoding import Rows, encoded_rows, refuse_questions
from tinybert_tf.data.split import Split, TaskData
from tinybert_tf.data.tasks import Task, label_ids
from tinybert_tf.data.tokenizer import Tokenizer, check_tokenizer, without_autograph
from tinybert_tf.errors import InputError

SHUFFLE_BUFFER = 100_000
LEAST_LENGTH = 3  # [CLS], a word, [SEP]
_TASK_HEADS = ("classification", "regression", "token_classification", "span")
# Examples are sorted by length within a window of this many batches, so that most batches hold a single length.
WINDOW_BATCHES = 64


def length_buckets(seq_len: int) -> tuple[int, ...]:
    """The lengths that batches are padded to, up to `seq_len`: multiples of 4, above 64 of 8, above 128 of 32."""
    lengths = (*range(4, 64, 4), *range(64, 128, 8), *range(128, seq_len, 32))
    return (*(length for length in lengths if length < seq_len), seq_len)


def batches(
    split: Split,
    tokenizer: Tokenizer,
    task: Task | TaskData,
    *,
    batch_size: int,
    seq_len: int | None = None,
    model: Any = None,
    ids: Mapping[str, int] | None = None,
    label_weights: Mapping[str, float] | None = None,
    shuffle_seed: int | None = None,
    epochs: int = 1,
    buckets: Sequence[int] | None = None,
    in_order: bool = False,
    row_numbers: bool = False,
) -> tf.data.Dataset:
    """Batches `(features, label, weight)` for Keras, of known cardinality.

    Each batch holds examples of similar length and is padded to the next of `buckets`. It always has `batch_size` rows: the
    last batch is filled with rows of weight 0, so nothing is dropped and shapes are static. Filling rows do not count in
    losses and in `compile(weighted_metrics=...)`, but they do in `compile(metrics=...)`; `in_order=True` has none.

    ```python
    task = tb.load_task("sst2", "glue")
    train = tb.batches(task.train, tokenizer, task, batch_size=32, model=model, shuffle_seed=0)
    dev = tb.batches(task.dev, tokenizer, task, batch_size=32, model=model, in_order=True)
    ```

    Args:
        split: the examples. They are counted here, which finds every malformed one.
        tokenizer: the model's.
        task: says what the labels are.
        batch_size: examples in a batch.
        seq_len: longest length in tokens, by default the task's or, if it is less, the model's; longer texts are truncated.
        model: the network that the batches are for, whose label ids are taken and which must have the tokenizer's words.
        ids: label word -> id instead; without either the task's own order (`label_ids`).
        label_weights: label word -> weight of its examples, by default 1 (`class_weights`).
        shuffle_seed: None keeps examples of similar length in their order. Otherwise each epoch has its own order, which
            depends only on this and TensorFlow's global seed.
        epochs: passes over the examples. A batch may hold the end of one epoch and the beginning of the next.
        buckets: ascending lengths to pad to, the last at least `seq_len`; `(seq_len,)` pads everything to the full length.
        in_order: batches in the order of the file, without filling rows: the last one may be smaller. For evaluation and
            `predict`.
        row_numbers: add the index of each example in the split as a fourth element, int32 [batch_size], -1 for filling.

    Returns:
        features: `input_word_ids`, `input_mask`, `input_type_ids`, int32 [batch_size, bucket];
        label: int32 [batch_size], float32 for regression, 0 where there is none; weight: float32 [batch_size].
        For token classification label and weight are [batch_size, bucket]: the weight is 1 at the first token of a word.

    Raises:
        InputError: a malformed row; buckets that end before `seq_len`; labels, words or positions that `model` does not have;
            a size below 1; a weight below 0; something that is no split, no task or no `Tokenizer`; a task of questions
            (SQuAD), of which `tinybert_tf.data.spans.SpanFeatures` makes batches.
    """
    task = getattr(task, "task", task)
    if not isinstance(task, Task):
        raise InputError(f"is a {type(task).__name__}; give what `tb.load_task` returns", "task")
    refuse_questions(task)
    if not isinstance(split, Split):
        raise InputError(f"is a {type(split).__name__}; give a split of a task, such as `task.train`", "split")
    check_tokenizer(tokenizer)
    if shuffle_seed is not None:
        shuffle_seed = whole_number("shuffle_seed", shuffle_seed, 0)
    batch_size, epochs = whole_number("batch_size", batch_size, 1), whole_number("epochs", epochs, 1)
    seq_len = None if seq_len is None else whole_number("seq_len", seq_len, LEAST_LENGTH)
    if in_order and shuffle_seed is not None:
        raise InputError("a shuffled order is not that of the file; leave out `shuffle_seed`", "in_order", in_order)
    if model is not None:
        model = getattr(model, "network", model)  # of a `tb.logits_model`
        _check_model(model, tokenizer, task, seq_len)
        seq_len = seq_len or min(task.seq_len, model.config.max_position_embeddings)
    if ids is None:
        ids = label_ids(task, None if model is None else model.config.label2id)
    else:
        ids = _checked_ids(ids, task)
    if label_weights is not None:
        _check_label_weights(label_weights, task)
    seq_len = seq_len or task.seq_len
    lengths = tf.constant(checked_buckets(buckets, seq_len), tf.int64)
    rows = encoded_rows(split, tokenizer, task, seq_len, ids, label_weights)
    if shuffle_seed is not None:
        rows = rows.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=True)
    rows = rows.repeat(epochs)
    if in_order:
        chosen = rows.ragged_batch(batch_size)
    else:
        windows = rows.ragged_batch(WINDOW_BATCHES * batch_size).enumerate()
        chosen = windows.flat_map(_cutter(lengths, batch_size, shuffle_seed))
    pad = _padder(lengths, tokenizer.pad_id, None if in_order else batch_size, row_numbers)
    dataset = chosen.map(pad, tf.data.AUTOTUNE, deterministic=True)
    count = -(-len(split) * epochs // batch_size)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def _cutter(
    lengths: tf.Tensor, batch_size: int, shuffle_seed: int | None
) -> Callable[[tf.Tensor, Rows], tf.data.Dataset]:
    """A function that sorts the examples of a numbered window by length and cuts them into batches, these in random order."""

    @without_autograph
    def cut(number, window: Rows) -> tf.data.Dataset:
        order = tf.argsort(tf.searchsorted(lengths, window.word_ids.row_lengths()), stable=True)
        begins = tf.range(0, tf.size(order), batch_size)
        if shuffle_seed is not None:
            keys = tf.random.stateless_uniform(tf.shape(begins), [shuffle_seed, number])
            begins = tf.gather(begins, tf.argsort(keys))
        chosen = tf.data.Dataset.from_tensor_slices(begins).map(
            without_autograph(lambda begin: order[begin : begin + batch_size])
        )
        return chosen.map(lambda places: Rows(*(tf.gather(values, places) for values in window)))

    return cut


def _padder(lengths: tf.Tensor, pad_id: int, static_size: int | None, row_numbers: bool) -> Callable[[Rows], tuple]:
    """A function that pads a batch to the next of `lengths`, and to `static_size` rows where it is not None."""

    @without_autograph
    def pad(batch: Rows):
        longest = batch.word_ids.bounding_shape(axis=1)
        length = lengths[tf.searchsorted(lengths, [longest])[0]]
        size = tf.size(batch.number, tf.int64) if static_size is None else static_size

        def filled(values, filling=0):
            """Values of tokens become [size, length], values of rows [size]; `filling` where there are none."""
            if isinstance(values, tf.RaggedTensor):
                return tf.ensure_shape(values.to_tensor(filling, shape=tf.stack([size, length])), [static_size, None])
            return tf.ensure_shape(
                tf.pad(values, [[0, size - tf.size(values, tf.int64)]], constant_values=filling), [static_size]
            )

        features = {
            "input_word_ids": filled(batch.word_ids, pad_id),
            "input_mask": filled(tf.ones_like(batch.word_ids)),
            "input_type_ids": filled(batch.type_ids),
        }
        padded = (features, filled(batch.label), filled(batch.weight))
        return (*padded, filled(batch.number, -1)) if row_numbers else padded

    return pad


def _check_model(model: Any, tokenizer: Tokenizer, task: Task, seq_len: int | None) -> None:
    """Raises InputError for a network of another head, or one that cannot read the task's texts."""
    head = getattr(model, "head", None)
    if head in _TASK_HEADS and head != task.head:
        raise InputError(f"has the head {head!r}, but task {task.name} needs {task.head!r}", "model")
    if not hasattr(model, "config"):
        raise InputError(f"is a {type(model).__name__}; give a BertModel (of a Distiller its `student`)", "model")
    check_fits(tokenizer, model.config, seq_len)
    if task.has_pairs and getattr(model.config, "type_vocab_size", 2) == 1:
        raise InputError(
            "the model has type_vocab_size=1, but the task's pairs of texts need 2 token types; take a model that was built "
            "with two"
        )


def check_fits(tokenizer: Tokenizer, config: Any, seq_len: int | None) -> None:
    """Raises InputError for a network that cannot read what a tokenizer gives.

    Args:
        tokenizer: the words.
        config: the network's `BertConfig`.
        seq_len: the longest length in tokens, if it was chosen.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"has {tokenizer.vocab_size} words ({tokenizer.vocab_file}), but the model's table has {config.vocab_size}: take "
            "the model's own",
            "tokenizer",
        )
    positions = config.max_position_embeddings
    if seq_len is not None and seq_len > positions:
        raise InputError(f"the model has {positions} positions; take a smaller one", "seq_len", seq_len)


def checked_buckets(buckets: Sequence[int] | None, seq_len: int) -> tuple[int, ...]:
    """Lengths to pad to, by default `length_buckets`. Raises InputError if they do not ascend to `seq_len`."""
    try:
        lengths = tuple(map(operator.index, length_buckets(seq_len) if buckets is None else buckets))
    except TypeError:
        lengths = ()
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1 or lengths[-1] < seq_len:
        raise InputError(f"must be ascending lengths, the last at least `seq_len`={seq_len}", "buckets", buckets)
    return lengths


def _checked_ids(ids: Mapping[str, int], task: Task) -> dict[str, int]:
    if not isinstance(ids, Mapping):
        raise InputError(f"is a {type(ids).__name__}; give a mapping from label to id", "ids")
    if unknown := [label for label in task.labels if label not in ids]:
        raise InputError(
            f"has no id for {', '.join(map(repr, unknown))}; pass `model=` to match labels by name", "ids", dict(ids)
        )
    return {label: whole_number(f"ids[{label!r}]", index, 0) for label, index in ids.items()}


def _check_label_weights(weights: Mapping[str, float], task: Task) -> None:
    if task.kind != "classification":
        raise InputError(f"needs classes, but task {task.name} is of the kind {task.kind}", "label_weights")
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise InputError(f"is a {kind}; give a mapping from label to weight, see `class_weights`", "label_weights")
    if unknown := [label for label in weights if label not in task.labels]:
        raise InputError(
            f"has {', '.join(map(repr, unknown))}, but task {task.name} the labels {', '.join(map(repr, task.labels))}",
            "label_weights",
        )
    for label, weight in weights.items():
        if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
            raise InputError(f"of {label!r} is {weight!r}, not a number of at least 0", "label_weights")


def class_weights(spec: str, task: Task, split: Split) -> dict[str, float]:
    """A weight for each class, for `batches(label_weights=...)`.

    >>> from tinybert_tf.data import task_from_lists
    >>> task = task_from_lists(["a", "b", "c", "d"], ["x", "x", "x", "y"])
    >>> class_weights("balanced", task.task, task.train)
    {'x': 0.6666666666666666, 'y': 2.0}
    >>> class_weights("y=3", task.task, task.train)
    {'x': 1.0, 'y': 3.0}

    Args:
        spec: "balanced", rows / (classes x rows of the class); or "LABEL=WEIGHT,..." with 1 for the others.
        task: its labels.
        split: the rows to count.

    Raises:
        InputError: not a classification task, an unknown label, or a weight that is not a number of at least 0.
    """
    if task.kind != "classification":
        raise InputError(f"a task of {task.kind} has no classes to weight", "class_weights", spec)
    if spec == "balanced":
        counts = collections.Counter(row.label for row in split)
        return {label: sum(counts.values()) / (len(task.labels) * max(1, counts[label])) for label in task.labels}
    weights = dict.fromkeys(task.labels, 1.0)
    for part in spec.split(","):
        label, _, number = (text.strip() for text in part.rpartition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if label not in weights or not 0 <= weight < math.inf:
            known = ", ".join(task.labels)
            raise InputError(f"{part!r} is not LABEL=WEIGHT with one of the labels {known}", "class_weights", spec)
        weights[label] = weight
    return weights
