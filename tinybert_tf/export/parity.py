"""Parity: compares an exported file with the network that it was made from, and scores files."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, BertModel, logits_model
from tinybert_tf.checkpoints import read_config
from tinybert_tf.data import Split, Task, Tokenizer, batches, label_ids, label_values, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.load import labels_to_load
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import check_labelled, to_all_words
from tinybert_tf.evaluate.logits import score as score_of
from tinybert_tf.evaluate.metrics import METRICS
from tinybert_tf.evaluate.squad import find_answers, score_squad
from tinybert_tf.evaluate.task_model import open_task_model
from tinybert_tf.export.classifier import TFLiteClassifier, file_head, file_tokenizer
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.export.writer.graph import OUTPUT_NAMES
from tinybert_tf.export.writer.metadata import read_metadata, tokenizer_settings, vocabulary_of
from tinybert_tf.export.writer.weights import VECTORS

Features = dict[str, np.ndarray]
# Logits of all rows, [rows, classes] or [rows, seq, classes] -> a number.
Score = Callable[[np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """Both sides of an export on one data set.

    Attributes:
        keras_score, tflite_score: the metric of each; 0 to 1, higher is better.
        drop: keras_score - tflite_score.
        max_logit_error: the largest difference between two logits. A classifier's file holds the softmax, which does not
            change if a number is added to all logits, so both sides are compared after subtracting their mean over the
            classes. For a regressor: the largest difference of two values.
        agreement: share of the answers with the same class, or the same position; None for a regressor.
        examples: number of rows that were compared.
    """

    keras_score: float
    tflite_score: float
    drop: float
    max_logit_error: float
    agreement: float | None
    examples: int


class Comparison:
    """A network's answers to some rows, computed once, to compare files with.

    Args:
        model: with a head that has a TFLite form.
        features: int32 `[rows, seq]` by `INPUT_NAMES`.
        score: the metric, a function of the logits.
        counted: bool `[rows]`, or `[rows, seq]` for answers at each position; absent: every row, every token.
        batch_size: rows that the network reads at a time.

    Raises:
        InputError: another head, or no row.
    """

    def __init__(
        self,
        model: BertModel,
        features: Features,
        score: Score,
        counted: np.ndarray | None = None,
        batch_size: int = 64,
    ):
        if model.head not in OUTPUT_NAMES:
            raise InputError(f"parity is scored for the heads {', '.join(OUTPUT_NAMES)}, not for {model.head!r}")
        rows = len(features[INPUT_NAMES[0]])
        if not rows:
            raise InputError("no example to compare; give a data set with at least one row")
        self.head, self.features, self._score = model.head, features, score
        if counted is None:
            by_position = model.head in ("span", "token_classification")
            counted = features["input_mask"] == 1 if by_position else np.ones(rows, bool)
        self._counted = counted
        network = logits_model(model)
        parts = [
            network.predict_on_batch({name: value[start : start + batch_size] for name, value in features.items()})
            for start in range(0, rows, batch_size)
        ]
        self.logits = np.concatenate([np.asarray(part, np.float64) for part in parts])
        if self._classifies:
            self.logits = _centered(self.logits)

    def __call__(self, file: TFLiteModel) -> ParityReport:
        """Runs a file on the same rows.

        Raises:
            InputError: it returns something of another shape, or values that are not finite.
        """
        found = _answers(self.head, file.predict(self.features))
        if not isinstance(found, np.ndarray) or found.shape != self.logits.shape:
            raise InputError(
                f"{file.path}: returns {_shapes(found)}, the Keras model {list(self.logits.shape)}; "
                "it was exported from another model, or with `output_vector`"
            )
        found = _logits_of(found) if self._classifies else found.astype(np.float64)
        if not np.isfinite(found).all():
            raise InputError(f"{file.path}: returns values that are not finite; the model's weights overflow")
        keras_score, tflite_score = self._score(self.logits), self._score(found)
        return ParityReport(
            keras_score=keras_score,
            tflite_score=tflite_score,
            drop=keras_score - tflite_score,
            max_logit_error=float(np.abs(self.logits - found)[self._counted].max()),
            agreement=self._agreement(found),
            examples=len(found),
        )

    @property
    def _classifies(self) -> bool:
        return self.head in ("classification", "token_classification")

    def _agreement(self, found: np.ndarray) -> float | None:
        if self.head == "regression":
            return None
        if self.head == "span":  # the likeliest first and last positions among the tokens
            hidden = ~self._counted[..., None]
            keras, tflite = (np.where(hidden, -np.inf, logits).argmax(axis=1) for logits in (self.logits, found))
        else:
            keras, tflite = (logits.argmax(axis=-1)[self._counted] for logits in (self.logits, found))
        return float((keras == tflite).mean())


def compare_on_task(
    model_dir: str | Path,
    tflite_path: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    *,
    files: CustomFiles | None = None,
    split: str | None = None,
    num_threads: int = 1,
) -> ParityReport:
    """Compares a file with the model directory it was made from on a task's dev set, by the task's main metric.

    Args:
        model_dir, task, data_dir, files, split: as for `task_comparison`.
        tflite_path: the file.
        num_threads: of the TFLite runtime.

    Raises:
        InputError: a file with another vocabulary, other tokenizer settings or labels than the model's, and errors of the parts.

    Example:

    ```python
    report = compare_on_task("runs/student/model", "student.tflite", "sst2", "glue")
    print(report.drop, report.max_logit_error)
    ```
    """
    file = TFLiteModel(tflite_path, num_threads, verify=True)
    _check_made_from(tflite_path, model_dir)
    return task_comparison(model_dir, task, data_dir, files=files, split=split, seq_len=file.seq_len)(file)


def _check_made_from(path: str | Path, model_dir: str | Path) -> None:
    """Raises InputError for a file whose texts or classes are not its model's; files of other converters name neither."""
    try:
        found = read_metadata(path)
    except InputError:
        return
    if found.vocabulary is None:
        return
    tokenizer, (config, head) = Tokenizer.from_directory(model_dir), read_config(model_dir)
    if list(found.vocabulary) != tokenizer.vocabulary:
        raise InputError(f"{path}: has another vocabulary than {model_dir}; convert the model with its own")
    settings = tokenizer_settings(vocabulary_of(str(path), found.vocabulary, found.settings))
    of_model = tokenizer_settings(tokenizer.spec)
    if settings != of_model:
        raise InputError(
            f"{path}: prepares texts by {settings}, but {model_dir} by {of_model}; convert the model again"
        )
    has_labels = {head, found.head} <= {
        "classification",
        "token_classification",
    }  # others may carry some that nothing reads
    labels = sorted(config.label2id, key=config.label2id.get) if has_labels else []
    if labels and list(found.labels or ()) != labels:
        raise InputError(f"{path}: has the labels {found.labels}, but {model_dir} {labels}; convert the model again")


def task_comparison(
    model_dir: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    *,
    files: CustomFiles | None = None,
    split: str | None = None,
    seq_len: int = 128,
) -> Comparison:
    """A comparison on a task's dev set, tokenized to `seq_len`, by the task's main metric.

    Args:
        model_dir: the model directory that files are exported from.
        task, data_dir, files: as for `load_task`.
        split: None: the task's dev set.
        seq_len: the files' length.

    Raises:
        InputError: a task of another kind than the model, a split without labels, and errors of the parts.
    """
    data = DataSettings(task=task, data_dir=data_dir, seq_len=seq_len, custom=files or CustomFiles())
    opened = open_task_model(model_dir, data)
    rows = opened.data.split(split) if split else opened.data.dev
    questions = task_questions(opened.data.task, rows, opened.tokenizer, opened.ids, seq_len)
    batch_size = 16 if opened.model.head == "span" else 64
    return Comparison(opened.model, questions.features, questions.score, questions.counted, batch_size)


def score_file(
    path: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    files: CustomFiles | None = None,
    num_threads: int = 1,
) -> float:
    """A file's own score on a task's dev set, with the vocabulary and the labels inside it.

    Args:
        path: a file of `export_tflite`.
        task, data_dir, files: as for `load_task`.
        num_threads: of the TFLite runtime.

    Raises:
        InputError: a file of another task, and errors of the parts.
    """
    metadata = read_metadata(path)
    classifier = TFLiteClassifier(path, num_threads) if metadata.inputs[0] == "text" else None
    model = None if classifier else TFLiteModel(path, num_threads)
    head = file_head(metadata, {} if model is None else model.outputs)
    if head in VECTORS:
        raise InputError(
            f"{path}: gives a vector of a text ({head}), which no task scores; convert the model without `output_vector`"
        )
    label2id = {label: index for index, label in enumerate(metadata.labels or ())}
    data = load_task(task, data_dir, files, labels_to_load(task, files, label2id))
    if head != data.task.head:
        raise InputError(f"{path}: is a file for {head}, but task {task} needs {data.task.head!r}")
    ids = label_ids(data.task, label2id, str(path))
    if model is None:
        rows = list(data.dev)
        pairs = None if rows[0].text_pair is None else [row.text_pair for row in rows]
        values = classifier.predict([row.text for row in rows], pairs)
        return float(METRICS[data.task.main_metric](_predictions(head, values), label_values(rows, data.task, ids)))
    questions = task_questions(data.task, data.dev, file_tokenizer(path, metadata), ids, model.seq_len)
    return float(questions.score(_answers(head, model.predict(questions.features))))


@dataclasses.dataclass(frozen=True)
class Questions:
    """The examples of a split as features, and the metric of answers to them.

    Attributes:
        features: int32 `[rows, seq]` by `INPUT_NAMES`.
        score: the task's main metric of logits (or of a monotonic function of them).
        counted: bool `[rows, seq]` where answers at each position have labels; None: every row, or every token.
    """

    features: Features
    score: Score
    counted: np.ndarray | None = None


def task_questions(task: Task, rows: Split, tokenizer: Tokenizer, ids: Mapping[str, int], seq_len: int) -> Questions:
    """A split's examples, tokenized and padded to `seq_len`.

    Args:
        task, rows: the task and one of its splits.
        tokenizer: that of the model.
        ids: the model's id of each of the task's labels.
        seq_len: length that features are padded to.

    Raises:
        InputError: a split without labels, or a malformed row.
    """
    if task.kind == "span":
        return _span_questions(task, rows, tokenizer, seq_len)
    check_labelled(rows)
    reading = {"batch_size": 64, "seq_len": seq_len, "ids": ids, "buckets": (seq_len,), "in_order": True}
    features, labels, weights = _gathered(batches(rows, tokenizer, task.with_unseen(), **reading))
    if task.kind == "token_classification":
        return Questions(features, _entity_score(task, rows, ids, weights > 0), weights > 0)
    metric = METRICS[task.main_metric]

    def score(logits: np.ndarray) -> float:
        return metric(_predictions(task.head, logits), labels)

    return Questions(features, score)


def _gathered(dataset: tf.data.Dataset) -> tuple[Features, np.ndarray, np.ndarray]:
    """Features, labels and weights of all batches."""
    parts = list(dataset.as_numpy_iterator())
    if not parts:
        raise InputError("no example to compare; give a data set with at least one row")
    features = {name: np.concatenate([part[0][name] for part in parts]) for name in INPUT_NAMES}
    return features, *(np.concatenate([part[index] for part in parts]) for index in (1, 2))


def _answers(head: str, outputs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
    """A file's outputs in the layout of Keras' logits."""
    if head == "span" and isinstance(outputs, dict):
        return np.stack([outputs["start_logits"], outputs["end_logits"]], axis=-1)
    return outputs


def _predictions(head: str, logits: np.ndarray) -> np.ndarray:
    return logits[:, 0] if head == "regression" else logits.argmax(axis=-1)


def _entity_score(task: Task, rows: Split, ids: Mapping[str, int], is_word: np.ndarray) -> Score:
    """The task's main metric of tagged words, as `evaluate` has it; a word is tagged at its first token."""
    order = [ids[tag] for tag in task.labels]
    labels = label_values(list(rows), task, label_ids(task, None))

    def score(logits: np.ndarray) -> float:
        words = [
            to_all_words(task, row[is_first][:, order], len(tags))
            for row, is_first, tags in zip(logits, is_word, labels, strict=True)
        ]
        return score_of(task, words, labels)[task.main_metric]

    return score


def _span_questions(task: Task, rows: Split, tokenizer: Tokenizer, seq_len: int) -> Questions:
    """Windows of questions and contexts; the score is that of the questions' answers."""
    windows = SpanFeatures(rows, tokenizer, seq_len)
    count = len(windows.lengths)
    features = {name: np.zeros((count, seq_len), np.int32) for name in INPUT_NAMES}
    for batch, _, _, numbers in windows.batches(
        batch_size=64, buckets=(seq_len,), row_numbers=True
    ).as_numpy_iterator():
        for name, values in features.items():
            values[numbers[numbers >= 0]] = batch[name][numbers >= 0]

    def score(logits: np.ndarray) -> float:
        by_window = [row[:length] for row, length in zip(logits, windows.lengths, strict=True)]
        return score_squad(task, windows.examples, find_answers(windows, by_window))[task.main_metric]

    return Questions(features, score)


def _centered(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=-1, keepdims=True)


def _logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Logits, centered over the classes, from their softmax."""
    return _centered(np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)))


def _shapes(value: np.ndarray | dict[str, np.ndarray]) -> str:
    named = {"": value} if isinstance(value, np.ndarray) else value
    return ", ".join(f"{name} {list(array.shape)}".strip() for name, array in named.items())
