"""A model's answers to a split, and what they are worth."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.data import Split, Task, Tokenizer, indexed_batches
from tinybert_tf.evaluate.metrics import compute_metrics


def predict_logits(
    model: BertModel,
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int = 64,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(logits [rows, classes], labels [rows]) in the order of the split; for regression the logits are [rows, 1]."""
    return predictor(model, split, tokenizer, task, batch_size=batch_size, seq_len=seq_len, ids=ids)()


def predictor(
    model: BertModel,
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    *,
    batch_size: int = 64,
    seq_len: int | None = None,
    ids: Mapping[str, int] | None = None,
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """`predict_logits` with its data tokenized and its graph traced once, for a model that is scored again and again."""
    dataset = indexed_batches(split, tokenizer, task, batch_size=batch_size, seq_len=seq_len, ids=ids).cache()
    network = logits_model(model)
    forward = tf.function(lambda features: network(features, training=False), reduce_retracing=True)

    def predict() -> tuple[np.ndarray, np.ndarray]:
        logits, labels, rows = [], [], []
        for features, label, _, row in dataset:
            logits.append(tf.cast(forward(features), tf.float32).numpy())
            labels.append(label.numpy())
            rows.append(row.numpy())
        rows = np.concatenate(rows)
        order = np.argsort(rows[rows >= 0])
        return np.concatenate(logits)[rows >= 0][order], np.concatenate(labels)[rows >= 0][order]

    return predict


def score(task: Task, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The task's metrics, the main one first."""
    predictions = logits[:, 0] if task.kind == "regression" else logits.argmax(axis=-1)
    return compute_metrics(task.metrics, predictions, labels)
