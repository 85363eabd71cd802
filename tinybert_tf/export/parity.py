"""Does the file on the phone answer like the network that was trained?"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Tokenizer, batches, count_batches, label_ids, load_task
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.metrics import METRICS
from tinybert_tf.export.runtime import TFLiteModel


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """Both sides of an export on one data set.

    Attributes:
        keras_score, tflite_score: the metric of each; 0 to 1, higher is better.
        drop: keras_score - tflite_score.
        max_logit_error: the largest difference between two logits. A classifier's file holds the softmax, which forgets
            what its logits have in common, so both sides' are taken less their mean over the classes: there
            log(probability) gives back the logits. For a regressor: the largest difference of two values.
        agreement: share of the examples with the same predicted class; None for a regressor.
        examples: how many were compared.
    """

    keras_score: float
    tflite_score: float
    drop: float
    max_logit_error: float
    agreement: float | None
    examples: int


def compare_on_task(
    model_dir: str | Path,
    tflite_path: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    *,
    split: str | None = None,
    batch_size: int = 64,
    num_threads: int = 1,
) -> ParityReport:
    """`compare` on a task's dev set, tokenized to the length of the file, by the task's main metric.

    Args:
        model_dir: the model directory that the file was exported from.
        tflite_path: the file.
        task, data_dir: as for `load_task`.
        split: absent: the task's dev set.

    Raises:
        InputError: a task of another kind than the model, and whatever the parts raise.
    """
    tflite_model = TFLiteModel(tflite_path, num_threads)
    data = load_task(task, data_dir)
    directory = resolve_directory(model_dir, "--model_dir")
    keras_model = load_model(directory, strict_head=True)
    if keras_model.head != data.task.head:
        raise InputError(
            f"{directory}: has the head {keras_model.head!r}, but task {data.task.name} needs {data.task.head!r}"
        )
    arguments = {
        "split": data.split(split) if split else data.dev,
        "tokenizer": Tokenizer.from_directory(directory),
        "task": data.task,
        "batch_size": batch_size,
        "seq_len": tflite_model.seq_len,
        "ids": label_ids(data.task, keras_model.config.label2id, str(directory)),
        "buckets": (tflite_model.seq_len,),
    }
    count_batches(**arguments)  # names a malformed row before any work is done
    dataset = batches(**arguments).as_numpy_iterator()
    return compare(keras_model, tflite_model, dataset, METRICS[data.task.main_metric])


def compare(
    keras_model: BertModel,
    tflite_model: TFLiteModel,
    batches: Iterable[Sequence[Any]],
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> ParityReport:
    """Runs a Keras model and its export on the same batches.

    Args:
        keras_model: with a classification or regression head.
        tflite_model: its export.
        batches: (features, labels) or (features, labels, weights); rows of weight 0 are left out.
        metric: of predictions and labels, both `[examples]`; predictions are class ids, or values for a regressor.

    Raises:
        InputError: another head, another number of classes in the file, no example, or logits that are not finite.
    """
    if keras_model.head not in ("classification", "regression"):
        raise InputError(f"parity is scored for a classification or a regression head, not for {keras_model.head!r}")
    classifies = keras_model.head == "classification"
    network = logits_model(keras_model)
    keras_logits, tflite_logits, all_labels = [], [], []
    for features, labels, *weights in batches:
        kept = np.asarray(weights[0]) != 0 if weights else np.ones(len(np.asarray(labels)), bool)
        fitted = {name: value[kept] for name, value in tflite_model.fit(features).items()}
        if not kept.any():
            continue
        ours, theirs = np.asarray(network.predict_on_batch(fitted), np.float64), tflite_model.predict(fitted)
        if not isinstance(theirs, np.ndarray) or ours.shape != theirs.shape:
            raise InputError(
                f"{tflite_model.path}: returns {_shapes(theirs)}, the Keras model {list(ours.shape)}; "
                "it was exported from another model"
            )
        keras_logits.append(_centred(ours) if classifies else ours)
        tflite_logits.append(_logits_of(theirs) if classifies else theirs.astype(np.float64))
        all_labels.append(np.asarray(labels)[kept])
    if not all_labels:
        raise InputError("no example to compare; give a data set with at least one row")
    ours, theirs, labels = map(np.concatenate, (keras_logits, tflite_logits, all_labels))
    if not np.all(np.isfinite(theirs)):
        raise InputError(f"{tflite_model.path}: returns values that are not finite; the model's weights overflow")
    predictions = [logits.argmax(axis=-1) if classifies else logits[:, 0] for logits in (ours, theirs)]
    keras_score, tflite_score = (float(metric(prediction, labels)) for prediction in predictions)
    return ParityReport(
        keras_score=keras_score,
        tflite_score=tflite_score,
        drop=keras_score - tflite_score,
        max_logit_error=float(np.abs(ours - theirs).max()),
        agreement=float((predictions[0] == predictions[1]).mean()) if classifies else None,
        examples=len(labels),
    )


def _centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=-1, keepdims=True)


def _logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Logits, centred over the classes, from their softmax."""
    return _centred(np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)))


def _shapes(value: np.ndarray | dict[str, np.ndarray]) -> str:
    named = {"": value} if isinstance(value, np.ndarray) else value
    return ", ".join(f"{name} {list(array.shape)}".strip() for name, array in named.items())
