"""Predicts the logits of a split, and scores them."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel, logits_model
from tinybert_tf.data import Split, Task, Tokenizer, batches, label_ids, label_values
from tinybert_tf.data.batching import LEAST_LENGTH
from tinybert_tf.data.checks import whole_number
from tinybert_tf.distribution import on_all_replicas, round_up_to_replicas
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.metrics import compute_metrics, entity_scores
from tinybert_tf.progress import Progress

logger = logging.getLogger(__name__)

MUCH_TRUNCATED = 0.05  # share of the texts from which on it is said that they are cut
_OUTSIDE = "O"  # the tag of a word that is part of no entity
# [rows, classes] and [rows]; for token classification one array [words, classes] and [words] a row.
Logits = np.ndarray | Sequence[np.ndarray]
Labels = np.ndarray | Sequence[np.ndarray]
Predict = Callable[[], tuple[Logits, Labels]]


def make_predict(
    model: BertModel,
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int = 64,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
) -> Predict:
    """A function that predicts a split with its data tokenized and its graph traced once, for repeated scoring. All replicas
    of the current strategy share the work.

    It returns (logits [rows, classes], labels [rows]) in the order of the split. Classes are in the order of the task's
    labels, whatever ids the model has for them. For regression the logits are [rows, 1]. For token classification both are
    lists of one array a row, [words, classes] and [words]; a word that was cut off counts as outside of every entity.

    Args:
        model: with a head for the task.
        split: the examples. All are read here once, so that a malformed one is found before anything is computed.
        tokenizer: the model's.
        task: says what the labels are.
        batch_size: examples at a time.
        seq_len: longest length in tokens, by default the task's.
        ids: label word -> the model's id, by default the task's own order (`label_ids`).

    Raises:
        FloatingPointError: (when it predicts) logits that are not finite.
    """
    ids = label_ids(task, None) if ids is None else ids
    order = [ids[word] for word in task.labels] or [0]
    labels = label_values(list(split), task, label_ids(task, None))
    reading = {"batch_size": round_up_to_replicas(batch_size), "seq_len": seq_len, "ids": ids}
    dataset = batches(split, tokenizer, task.with_unseen(), **reading, row_numbers=True).cache()
    _warn_of_truncation(dataset, split, seq_len or task.seq_len)
    network = logits_model(model)
    signature = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUT_NAMES}  # one graph for every length
    forward = on_all_replicas(lambda features: network(features, training=False), signature)

    def predict() -> tuple[Logits, Labels]:
        found: dict[int, np.ndarray] = {}
        progress = Progress(split.name, len(labels))
        for features, _, weight, numbers in dataset:
            logits, weight = tf.cast(forward(features), tf.float32).numpy()[..., order], weight.numpy()
            if not np.isfinite(logits).all():
                raise FloatingPointError("the logits are not finite: the training diverged; lower the learning rate")
            for row, number in enumerate(numbers.numpy()):
                if number >= 0:
                    found[number] = logits[row, weight[row] > 0] if weight.ndim == 2 else logits[row]
            progress.show(len(found))
        progress.close()
        in_order = [found[number] for number in range(len(labels))]
        if task.kind != "token_classification":
            return np.stack(in_order), labels
        return [to_all_words(task, row, len(tags)) for row, tags in zip(in_order, labels, strict=True)], labels

    return predict


def _warn_of_truncation(dataset: tf.data.Dataset, split: Split, seq_len: int) -> None:
    """Warns where much of a split fills the whole length: what is beyond it is not read."""
    is_full = [
        np.sum(features["input_mask"].numpy()[numbers.numpy() >= 0], axis=1) >= seq_len
        for features, _, _, numbers in dataset
    ]
    share = np.mean(np.concatenate(is_full))
    if share > MUCH_TRUNCATED:
        message = "%s: %.0f%% of the texts fill all %d tokens of `seq_len`; what is beyond is not read"
        logger.warning(message, split.source, 100 * share, seq_len)


def predict_logits(
    model: BertModel, split: Split, tokenizer: Tokenizer, task: Task, **options
) -> tuple[Logits, Labels]:
    """(logits, labels) of a split; see `make_predict`, whose arguments these are."""
    return make_predict(model, split, tokenizer, task, **options)()


def check_labelled(split: Split) -> None:
    """Raises InputError for a split without labels, such as GLUE's test sets."""
    if split.first().label is None:
        raise InputError(f"{split.source}: has no labels to score against; bin/predict.py predicts it instead")


def score(task: Task, logits: Logits, labels: Labels) -> dict[str, float]:
    """The task's metrics, the main one first; logits and labels as `make_predict` gives them."""
    if task.kind == "token_classification":
        tags = (*task.labels, *task.unseen)
        true = [[tags[index] for index in row] for row in labels]
        return entity_scores([predicted_tags(task, row) for row in logits], true)
    predictions = logits[:, 0] if task.kind == "regression" else logits.argmax(axis=-1)
    return compute_metrics(task.metrics, predictions, labels)


def predicted_tags(task: Task, logits: np.ndarray) -> list[str]:
    """The tags of a row of words from their logits [words, classes]; see `to_all_words`."""
    return [
        task.labels[int(best)] if values[best] > -np.inf else _OUTSIDE
        for best, values in zip(logits.argmax(axis=-1), logits, strict=True)
    ]


def to_all_words(task: Task, logits: np.ndarray, words: int) -> np.ndarray:
    """Logits [<= words, classes] of the words of a row that fit into the network -> [words, classes]; those that were cut off
    are outside of every entity: of all classes but "O" the logit is -inf, also where the task has no such tag."""
    outside = np.full((words - len(logits), len(task.labels)), -np.inf, np.float32)
    if _OUTSIDE in task.labels:
        outside[:, task.labels.index(_OUTSIDE)] = 1.0
    return np.concatenate([logits, outside])


def checked_seq_len(model: BertModel, seq_len: int) -> int:
    """The length; InputError if it holds no word or the network has fewer positions."""
    seq_len = whole_number("seq_len", seq_len, LEAST_LENGTH)
    positions = model.config.max_position_embeddings
    if seq_len > positions:
        raise InputError(f"the model has {positions} positions; take a smaller one", "seq_len", seq_len)
    return seq_len
