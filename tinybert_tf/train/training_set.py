"""What a network learns a task from, as batches; and what it is scored on."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.data import Split, Task, TaskData, Tokenizer, batches
from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.evaluate import predictor, score
from tinybert_tf.evaluate.squad import squad_evaluation

Batches = Callable[[int], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A split with all that turns it into batches for one model."""

    split: Split
    tokenizer: Tokenizer
    task: Task
    ids: Mapping[str, int]
    batch_size: int
    seq_len: int
    seed: int

    @functools.cached_property
    def rows(self) -> int:
        """How many there are. Counting reads them all, and so finds every malformed one."""
        return sum(1 for _ in self.split)

    def batches(self, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
        """(batches, steps): shuffled batches for so many passes; a part of a pass is so many of its batches.

        `batches(first)` leaves out the first so many, the rest being the same whatever `first` is.
        """
        common = {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids, "epochs": _whole(epochs)}
        steps = -(-self.rows * _whole(epochs) // self.batch_size)
        read = lambda: batches(self.split, self.tokenizer, self.task, shuffle_seed=self.seed, **common)
        return _part(read, steps, epochs, max_steps)

    def texts(self) -> tf.data.Dataset:
        """Batches of features, shuffled."""
        common = {"batch_size": 32, "seq_len": self.seq_len, "ids": self.ids, "shuffle_seed": self.seed}
        return batches(self.split, self.tokenizer, self.task, **common).map(lambda features, *_: features)


@dataclasses.dataclass(frozen=True)
class SpanTrainingSet:
    """The questions of SQuAD, likewise; a row is a window of a context."""

    split: Split
    tokenizer: Tokenizer
    task: Task
    batch_size: int
    seq_len: int
    seed: int

    @functools.cached_property
    def _features(self) -> SpanFeatures:
        return SpanFeatures(self.split, self.tokenizer, self.seq_len)

    @property
    def rows(self) -> int:
        """How many windows there are."""
        return len(self._features.lengths)

    def batches(self, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
        """See `TrainingSet.batches`."""
        common = {"batch_size": self.batch_size, "epochs": _whole(epochs)}
        _, steps = self._features.count_batches(**common)
        read = lambda: self._features.batches(shuffle_seed=self.seed, **common)
        return _part(read, steps, epochs, max_steps)

    def texts(self) -> tf.data.Dataset:
        """See `TrainingSet.texts`."""
        return self._features.batches(batch_size=32, shuffle_seed=self.seed).map(lambda features, *_: features)


def dev_evaluation(
    model: BertModel, data: TaskData, tokenizer: Tokenizer, seq_len: int, ids: Mapping[str, int]
) -> Callable[[], dict[str, float]]:
    """A function that scores `model` on dev. The rows are checked here, before anything trains."""
    if data.task.kind == "span":
        return squad_evaluation(model, data.dev, tokenizer, data.task, seq_len=seq_len)
    predict = predictor(model, data.dev, tokenizer, data.task, seq_len=seq_len, ids=ids)
    return lambda: score(data.task, *predict())


def _whole(epochs: float) -> int:
    return max(1, int(-(-epochs // 1)))


def _part(read: Callable[[], tf.data.Dataset], steps: int, epochs: float, max_steps: int | None) -> tuple[Batches, int]:
    """Of the `steps` batches of whole passes, as many as `epochs` and `max_steps` leave."""
    steps = max(1, round(steps * epochs / _whole(epochs)))
    steps = min(steps, max_steps) if max_steps else steps
    return (lambda first: read().skip(first).take(steps - first)), steps
