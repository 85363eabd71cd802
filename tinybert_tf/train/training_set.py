"""A task's training set as batches."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tinybert_tf.data import Split, Task, Tokenizer, batches, load_task
from tinybert_tf.data.batching import class_weights
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.task_model import TaskModel

Batches = Callable[[int], tf.data.Dataset]

AUGMENTED_HELP = "a folder in GLUE's layout whose training set replaces the task's own"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A split with all that turns it into batches for one model.

    Attributes:
        unlabelled: texts that a teacher labels, beside those of `split`.
        label_weights: label word -> weight of its examples; None: all 1.
    """

    split: Split
    tokenizer: Tokenizer
    task: Task
    ids: Mapping[str, int]
    batch_size: int
    seq_len: int
    seed: int
    unlabelled: Split | None = None
    label_weights: Mapping[str, float] | None = None

    def labelled(self) -> "TrainingSet":
        """The same without the unlabelled texts."""
        return dataclasses.replace(self, unlabelled=None)

    @functools.cached_property
    def _examples(self) -> Split:
        if self.unlabelled is None:
            return self.split
        return Split("train", self.split.source, lambda: itertools.chain(self.split, self.unlabelled))

    @functools.cached_property
    def rows(self) -> int:
        """The number of examples. Counting reads all of them, so it finds every malformed one."""
        return sum(1 for _ in self._examples)

    def batches(self, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
        """(batches, steps): shuffled batches; a fractional epoch keeps that fraction of its batches.

        `batches(n)` returns the dataset from batch n on, which is the same for every `n`.
        """
        common = {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids, "epochs": _whole(epochs)}
        steps = -(-self.rows * _whole(epochs) // self.batch_size)
        common |= {"shuffle_seed": self.seed, "label_weights": self.label_weights}

        def read() -> tf.data.Dataset:
            return batches(self._examples, self.tokenizer, self.task, **common)

        return _part(read, steps, epochs, max_steps)

    def texts(self) -> tf.data.Dataset:
        """Batches of features, shuffled."""
        common = {"batch_size": 32, "seq_len": self.seq_len, "ids": self.ids, "shuffle_seed": self.seed}
        return batches(self._examples, self.tokenizer, self.task, **common).map(lambda features, *_: features)


@dataclasses.dataclass(frozen=True)
class SpanTrainingSet:
    """As `TrainingSet`, of SQuAD's questions; a row is a window of a context."""

    split: Split
    tokenizer: Tokenizer
    task: Task
    batch_size: int
    seq_len: int
    seed: int

    def labelled(self) -> "SpanTrainingSet":
        """See `TrainingSet.labelled`; all questions have answers."""
        return self

    @functools.cached_property
    def _features(self) -> SpanFeatures:
        return SpanFeatures(self.split, self.tokenizer, self.seq_len)

    @property
    def rows(self) -> int:
        """The number of windows."""
        return len(self._features.lengths)

    def batches(self, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
        """See `TrainingSet.batches`."""
        common = {"batch_size": self.batch_size, "epochs": _whole(epochs)}
        _, steps = self._features.count_batches(**common)

        def read() -> tf.data.Dataset:
            return self._features.batches(shuffle_seed=self.seed, **common)

        return _part(read, steps, epochs, max_steps)

    def texts(self) -> tf.data.Dataset:
        """See `TrainingSet.texts`."""
        return self._features.batches(batch_size=32, shuffle_seed=self.seed).map(lambda features, *_: features)


def check_augmented(augmented_data_dir: str | None, task: str) -> None:
    """Raises InputError for augmented examples of a task that is not in GLUE's layout."""
    if augmented_data_dir and task in CUSTOM_TASKS:
        raise InputError(
            f"`augmented_data_dir` is for GLUE's layout; with `task={task}` augmented examples go into `train_file`"
        )


def training_set(settings: Any, trained: TaskModel, has_teacher: bool = False) -> TrainingSet | SpanTrainingSet:
    """The examples to train on.

    Args:
        settings: of a program that trains on a task: its groups `data`, `examples`, `run`, and `augmented_data_dir`.
        trained: the network and task whose label ids, tokenizer and length are used.
        has_teacher: also take the texts of `unlabelled_file`, which a teacher labels.

    Raises:
        InputError: no examples, a malformed one, or class weights and unlabelled texts of a task that has none.
    """
    task, augmented = trained.data.task, settings.augmented_data_dir
    source = load_task(settings.data.task, augmented) if augmented else trained.data
    split = source.train.limit(settings.examples.max_train_examples)
    sizes = {"batch_size": settings.examples.train_batch_size, "seq_len": trained.seq_len, "seed": settings.run.seed}
    has_unlabelled, weights = has_teacher and settings.data.custom.unlabelled_file, settings.examples.class_weights
    if task.kind == "span":
        for name, value in (("unlabelled_file", has_unlabelled), ("class_weights", weights)):
            if value:
                raise InputError("a task of questions takes none", name, value)
        training = SpanTrainingSet(split, trained.tokenizer, task, **sizes)
    else:
        if has_unlabelled and weights:
            raise InputError(
                "the texts of `unlabelled_file` have no class; leave one of the two out", "class_weights", weights
            )
        unlabelled = trained.data.split("unlabelled") if has_unlabelled else None
        label_weights = class_weights(weights, task, split) if weights else None
        training = TrainingSet(
            split, trained.tokenizer, task, trained.ids, **sizes, unlabelled=unlabelled, label_weights=label_weights
        )
    if not training.rows:  # which reads them all: a malformed row is named before anything is written
        raise InputError(f"{split.source}: no examples to train on")
    return training


def _whole(epochs: float) -> int:
    return max(1, int(-(-epochs // 1)))


def _part(read: Callable[[], tf.data.Dataset], steps: int, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
    """Of the `steps` batches of whole passes, as many as `epochs` and `max_steps` leave."""
    steps = max(1, round(steps * epochs / _whole(epochs)))
    steps = min(steps, max_steps) if max_steps else steps
    return (lambda first: read().skip(first).take(steps - first)), steps
