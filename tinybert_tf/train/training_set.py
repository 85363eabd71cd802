"""A task's training set as batches."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.data import Split, Task, Tokenizer, batches, load_task
from tinybert_tf.data.batching import class_weights
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.data.token_shards import TokenShards, open_shards
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.files import file_states
from tinybert_tf.train.reading import bucket_lengths, cache_folder, examples_identity, has_accelerator
from tinybert_tf.train.run import reads_shards, recorded

Batches = Callable[[int], tf.data.Dataset]
# Name of a feature -> a function of the numbers of a batch's rows and of its length.
Extra = Mapping[str, Callable[[np.ndarray, int], np.ndarray]]

AUGMENTED_HELP = "a folder in GLUE's layout whose training set replaces the task's own"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A split with all that turns it into batches for one model.

    Attributes:
        unlabelled: texts that a teacher labels, beside those of `split`.
        label_weights: label word -> weight of its examples; None: all 1.
        shards_in: directory of the tokenized examples. None tokenizes them in every pass, in another order: for runs of
            earlier versions, and for dry runs, which write nothing.
        identity: JSON values that the examples follow from beside their files, see `open_shards`.
        buckets: lengths that batches are padded to; by default those of `length_buckets`.
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
    shards_in: Path | None = None
    identity: Any = None
    buckets: tuple[int, ...] | None = None

    def labelled(self) -> "TrainingSet":
        """The same without the unlabelled texts."""
        return dataclasses.replace(self, unlabelled=None)

    @functools.cached_property
    def _examples(self) -> Split:
        if self.unlabelled is None:
            return self.split
        source = f"{self.split.source}, {self.unlabelled.source}"
        return Split("train", source, lambda: itertools.chain(self.split, self.unlabelled))

    @functools.cached_property
    def shards(self) -> TokenShards | None:
        """The tokenized examples, or None without `shards_in`."""
        if self.shards_in is None:
            return None
        sources = [split.source for split in (self.split, self.unlabelled) if split is not None]
        identity = None
        if self.identity is not None and all(Path(source).is_file() for source in sources):
            identity = [self.identity, file_states(sources)]
        return open_shards(
            self.shards_in,
            self._examples,
            self.tokenizer,
            self.task,
            self.seq_len,
            self.ids,
            self.label_weights,
            identity,
        )

    @functools.cached_property
    def rows(self) -> int:
        """The number of examples. Counting reads all of them, so it finds every malformed one."""
        return self.shards.rows if self.shards_in else sum(1 for _ in self._examples)

    def batches(self, epochs: float, max_steps: int | None, extra: Extra | None = None) -> tuple[Batches, int]:
        """(batches, steps): shuffled batches; a fractional epoch keeps that fraction of its batches.

        `batches(n)` returns the dataset from batch n on, which is the same for every `n`.

        Args:
            epochs: passes over the examples.
            max_steps: the most batches.
            extra: further features, see `TokenShards.batches`; only with shards.
        """
        steps = _steps(-(-self.rows * _whole(epochs) // self.batch_size), epochs, max_steps)
        order = {"epochs": _whole(epochs), "buckets": self.buckets}
        if self.shards is not None:
            read = functools.partial(self.shards.batches, self.batch_size, seed=self.seed, extra=extra, **order)
            return (lambda first: read(first=first).take(steps - first)), steps
        common = {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids, "shuffle_seed": self.seed}
        common |= {"label_weights": self.label_weights, **order}
        return _skipping(lambda: batches(self._examples, self.tokenizer, self.task, **common), steps), steps

    def rows_of(self, epochs: float, max_steps: int | None, first: int = 0) -> np.ndarray:
        """The numbers of the examples that the batches from `first` on hold, each once; only with shards."""
        _, steps = self.batches(epochs, max_steps)
        if (steps - first) * self.batch_size >= 2 * self.rows:  # a whole epoch is among them, wherever they begin
            return np.arange(self.rows)
        order = {"epochs": _whole(epochs), "buckets": self.buckets or ()}
        numbers = self.shards.row_numbers(self.batch_size, self.seed, first=first, **order)
        return np.unique(np.concatenate([*itertools.islice(numbers, steps - first), np.zeros(0, np.int32)]))

    def texts(self) -> tf.data.Dataset:
        """Batches of features, shuffled, for every seed alike: runs that differ in it begin with the same student."""
        if self.shards is not None:
            return self.shards.batches(32, seed=0).map(lambda features, *_: features)
        common = {"batch_size": 32, "seq_len": self.seq_len, "ids": self.ids, "shuffle_seed": 0}
        return batches(self._examples, self.tokenizer, self.task, **common).map(lambda features, *_: features)


@dataclasses.dataclass(frozen=True)
class SpanTrainingSet:
    """As `TrainingSet`, for SQuAD's questions; a row is a window of a context."""

    split: Split
    tokenizer: Tokenizer
    task: Task
    batch_size: int
    seq_len: int
    seed: int
    buckets: tuple[int, ...] | None = None
    shards = None

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

    def batches(self, epochs: float, max_steps: int | None, extra: None = None) -> tuple[Batches, int]:
        """See `TrainingSet.batches`."""
        common = {"batch_size": self.batch_size, "epochs": _whole(epochs), "buckets": self.buckets}
        _, whole = self._features.count_batches(**common)
        steps = _steps(whole, epochs, max_steps)
        return _skipping(lambda: self._features.batches(shuffle_seed=self.seed, **common), steps), steps

    def texts(self) -> tf.data.Dataset:
        """See `TrainingSet.texts`."""
        return self._features.batches(batch_size=32, shuffle_seed=0).map(lambda features, *_: features)


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
    # A resumed run keeps its lengths on any machine: they are part of the order.
    lengths = recorded(settings).get("buckets") or bucket_lengths(
        settings.examples.buckets, trained.seq_len, has_accelerator()
    )
    sizes["buckets"] = tuple(lengths)
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
        if not settings.run.dry_run and reads_shards(settings):
            sizes["shards_in"] = cache_folder(settings.run.output_dir, settings.examples.cache_dir)
        training = TrainingSet(
            split,
            trained.tokenizer,
            task,
            trained.ids,
            **sizes,
            unlabelled=unlabelled,
            label_weights=label_weights,
            identity=examples_identity(settings),
        )
    if not training.rows:  # which reads them all: a malformed row is named before anything is written
        raise InputError(f"{split.source}: no examples to train on")
    return training


def _whole(epochs: float) -> int:
    return max(1, int(-(-epochs // 1)))


def _steps(whole: int, epochs: float, max_steps: int | None) -> int:
    """The number of steps: `whole` batches of complete passes, limited by `epochs` and `max_steps`."""
    steps = max(1, round(whole * epochs / _whole(epochs)))
    return min(steps, max_steps) if max_steps else steps


def _skipping(read: Callable[[], tf.data.Dataset], steps: int) -> Batches:
    return lambda first: read().skip(first).take(steps - first)
