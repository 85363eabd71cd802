"""The networks that teach a task: loading and scoring them, and the mean of several for the prediction stage."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from tinybert_tf.bert import INPUT_NAMES, BiLstmConfig
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data import Task, TaskData
from tinybert_tf.distill.networks import TEACHER, reader
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import constant_score
from tinybert_tf.evaluate.logits import score
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.logits_file import LogitsOf
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.reading import cache_folder
from tinybert_tf.train.teacher_cache import TeacherCache
from tinybert_tf.train.teacher_scores import teacher_scores
from tinybert_tf.train.training_set import Extra, training_set

logger = logging.getLogger(__name__)

# With fewer dev examples a weak teacher cannot be told from chance.
_ENOUGH_EXAMPLES = 30


def load_teachers(data: TaskData, settings: DistillSettings, precision: Precision) -> list[TaskModel]:
    """The networks that teach, each with its own vocabulary."""
    loaded = []
    for name in settings.teachers:
        directory = _teacher_for(data, name)
        model = load_model(
            directory,
            head=data.task.head,
            dtype=precision.teacher_dtype,
            strict_head=True,
            classifier_activation=settings.matching.classifier_activation(data.task.head),
        )
        tokenizer = settings.data.open_tokenizer(directory)
        loaded.append(TaskModel.of(model, tokenizer, data, settings.data.seq_len, source=directory))
    return loaded


def score_of_teachers(teachers: Sequence[TaskModel], settings: DistillSettings, earlier: Mapping) -> float | None:
    """The main dev score of the teachers' mean, which a resumed run has in its record; None in a dry run."""
    if "teacher_score" in earlier or settings.run.dry_run:
        return earlier.get("teacher_score")
    return _checked_teacher(teachers[0].data, _mean_scores(teachers, settings), settings.allow_weak_teacher)


def _teacher_for(data: TaskData, name: str) -> Path:
    """The teacher's directory, if it has a head for the task."""
    directory = resolve_directory(name, "--teacher")
    config, head = read_config(directory)
    if isinstance(config, BiLstmConfig):
        raise InputError("is a BiLSTM; write its logits to a file and give it as `teacher_logits`", "teacher", name)
    if head != data.task.head:
        raise InputError(
            f"has the head {head!r}, but task {data.task.name} needs {data.task.head!r}; fine-tune it first "
            "(bin/finetune.py)",
            "teacher",
            name,
        )
    return directory


def _checked_teacher(data: TaskData, scores: Mapping[str, float], allow_weak: bool) -> float:
    """The teacher's main dev score; InputError if it is no better than a constant answer."""
    main = data.task.main_metric
    logger.info("teacher  dev  %s", "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    chance, examples = constant_score(data.task, data.dev)
    if scores[main] > chance or allow_weak:
        return scores[main]
    message = (
        f"the teacher's {main} on dev is {scores[main]:.4f}, and the best constant answer has {chance:.4f}: it has not "
        "learned the task, or its labels are in another order"
    )
    if examples >= _ENOUGH_EXAMPLES:
        raise InputError(f"{message}; fine-tune it (bin/finetune.py), or set `allow_weak_teacher`")
    logger.warning("%s (%d examples)", message, examples)
    return scores[main]


def _mean_scores(teachers: Sequence[TaskModel], settings: DistillSettings) -> dict[str, float]:
    """The dev scores of a teacher, or of the weighted mean of several."""
    if len(teachers) == 1:
        shared = settings.examples.cache_dir
        folder = cache_folder(settings.run.output_dir, shared) if shared else None
        return teacher_scores(teachers[0], folder, settings.data)
    weights = np.asarray(settings.weights_of_teachers) / sum(settings.weights_of_teachers)
    predicted = [teacher.predict(teachers[0].data.dev) for teacher in teachers]
    mean = sum(weight * logits for weight, (logits, _) in zip(weights, predicted, strict=True))
    return score(teachers[0].data.task, mean, predicted[0][1])


@dataclasses.dataclass(frozen=True)
class Member:
    """One of several teachers.

    Attributes:
        cache: computes and keeps its logits.
        weight: in the mean.
        order: the rows of its logits in the order of the student's classes.
    """

    cache: TeacherCache
    weight: float
    order: Sequence[int]


def mean_logits(members: Sequence[Member]) -> LogitsOf:
    """The weighted mean of the teachers' logits, each computed once."""
    total = sum(member.weight for member in members)

    def read(numbers: np.ndarray, length: int) -> np.ndarray:
        parts = []
        for member in members:
            logits = member.cache.features()[f"{TEACHER}logits"](numbers, length)
            parts.append(member.weight / total * logits[..., list(member.order)])
        return np.sum(parts, axis=0, dtype=np.float32)

    def of_rows(rows: np.ndarray) -> Extra:
        for member in members:
            member.cache.compute(rows)
        return {f"{TEACHER}logits": read}

    return of_rows


def check_mean(task: Task, settings: DistillSettings) -> None:
    """Raises InputError for a task or settings for which `mean_of` has no logits."""
    taught = None
    if task.kind not in ("classification", "regression"):
        taught = f"task {task.name}"
    elif settings.augmented_data_dir and task.kind == "regression":
        taught = "scores on augmented rows"
    if taught is not None:
        message = f"only one teacher, with the student's vocabulary, can teach {taught}"
        raise InputError(message, "teacher", settings.teacher)


def mean_of(teachers: Sequence[TaskModel], settings: DistillSettings, ids: Mapping[str, int]) -> LogitsOf:
    """The mean of several teachers' logits for the rows of the training set.

    Args:
        teachers: each with its own vocabulary and order of labels.
        settings: of task distillation.
        ids: label word -> the student's id.
    """
    check_mean(teachers[0].data.task, settings)
    members = []
    words = sorted(ids, key=ids.__getitem__)
    folder = cache_folder(settings.run.output_dir, settings.examples.cache_dir)
    for teacher, weight in zip(teachers, settings.weights_of_teachers, strict=True):
        shards = training_set(settings, teacher, has_teacher=True).shards
        cache = TeacherCache(folder, shards, reader(teacher.model, ("logits",)))
        members.append(Member(cache, weight, [teacher.ids[word] for word in words] or [0]))
    return mean_logits(members)


def stand_in(labels: int) -> keras.Model:
    """A network of the teacher's shape for a `Distiller` whose features hold the teacher's logits: it is never run."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}
    # A sum, since Keras does not know that a slice of one column has one: a regression's logits must be [B, 1].
    column = keras.ops.sum(keras.ops.cast(inputs["input_word_ids"], "float32"), axis=1, keepdims=True)
    nothing = column * np.zeros((1, labels), np.float32)
    return keras.Model(inputs, {"logits": nothing}, name="given_logits")
