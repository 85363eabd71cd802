"""What the programs that train on plain text share: their settings, their batches, and the measure on held-out text."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.corpus import Corpus
from tinybert_tf.data import Tokenizer
from tinybert_tf.distribution import STRATEGY_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_seed, setting
from tinybert_tf.train.fit import SAVE_EVERY_SECONDS
from tinybert_tf.train.precision import DTYPE_HELP

# Held-out examples that an evaluation looks at, at most, and how many at a time.
_HELD_OUT, _HELD_OUT_BATCH = 2048, 64


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """What every program that trains on a corpus is told."""

    corpus: str = setting("", "the directory that bin/make_corpus.py wrote", required=True)
    output_dir: str = setting("", "where the run is written", required=True)
    seed: int = setting(0, "of initial values, order and dropout")
    epochs: float = setting(3.0, "passes over the corpus")
    max_steps: int | None = setting(None, "end after this many steps")
    train_batch_size: int = setting(256, "examples in a step")
    learning_rate: float = setting(1e-4, "peak of the schedule, which falls to zero at the last step")
    warmup_proportion: float = setting(0.03, "share of the steps with a rising learning rate")
    evaluations: int = setting(20, "how often the held-out text is looked at")
    strategy: str = setting("one_device", STRATEGY_HELP)
    num_devices: int | None = setting(None, "of --strategy=mirrored; without GPUs that many logical CPU devices")
    save_every_seconds: float = setting(SAVE_EVERY_SECONDS, "how often a checkpoint is written")
    dtype: str = setting("float32", f"precision of the network that is trained: {DTYPE_HELP}")

    def __post_init__(self):
        for name in ("max_steps", "train_batch_size", "evaluations", "num_devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name}={value}: must be at least 1")
        check_seed(self.seed)
        if not self.epochs > 0:
            raise InputError(f"--epochs={self.epochs}: must be above 0")
        if not 0 <= self.warmup_proportion < 1:
            raise InputError(f"--warmup_proportion={self.warmup_proportion}: must be from 0 to below 1")


def training_batches(
    settings: CorpusSettings, corpus: Corpus, read: Callable[..., tf.data.Dataset], **reading
) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """(batches, steps) for so many passes over the corpus; `batches(first)` leaves out the first so many.

    Args:
        read: `corpus.batches` or `corpus.masked_batches`.
        reading: its further arguments.
    """
    whole = -int(-settings.epochs // 1)
    steps = max(1, round(corpus.steps(settings.train_batch_size, whole) * settings.epochs / whole))
    steps = min(steps, settings.max_steps) if settings.max_steps else steps
    reading |= {"batch_size": settings.train_batch_size, "shuffle_seed": settings.seed, "epochs": whole}
    return (lambda first: read(first_batch=first, **reading).take(steps - first)), steps


def held_out_means(
    model: keras.Model, corpus: Corpus, read: Callable[..., tf.data.Dataset], prepare=None, **reading
) -> Callable[[], dict[str, float]]:
    """A function that returns the means of what `model` measures over the corpus' held-out text.

    Every worker reads all of it, so that they all get the same.

    Args:
        model: with a method `measure`, as `Distiller` has.
        read: `corpus.batches` or `corpus.masked_batches`, with its further arguments in `reading`.
        prepare: what the batches are mapped by.
    """
    if not corpus.held_out_examples:
        raise InputError("the corpus has no held-out examples; make it anew with some")
    dataset = read(batch_size=_HELD_OUT_BATCH, held_out=True, **reading).take(_HELD_OUT // _HELD_OUT_BATCH)
    dataset = (dataset if prepare is None else dataset.map(prepare)).cache()
    measure = tf.function(model.measure)

    def evaluate() -> dict[str, float]:
        batches = [measure(batch) for batch in dataset]
        weights = [float(weight) for _, weight in batches]
        return {
            name: float(np.average([float(means[name]) for means, _ in batches], weights=weights))
            for name in batches[0][0]
        }

    return evaluate


def check_vocabulary(corpus: Corpus, directory: Path) -> None:
    """Raises InputError where the corpus was tokenized with other words, or another case, than the model of `directory` knows."""
    ours, theirs = corpus.tokenizer, Tokenizer.from_directory(directory)
    if ours.vocabulary != theirs.vocabulary:
        raise InputError(
            f"the corpus was made with a vocabulary of {ours.vocab_size} words ({ours.vocab_file}), but {theirs.vocab_file} "
            f"has {theirs.vocab_size}{'' if ours.vocab_size != theirs.vocab_size else ' others'}; "
            f"make the corpus with --vocab={theirs.vocab_file}"
        )
    if ours.lower_case != theirs.lower_case:
        raise InputError(
            f"the corpus was made with lower_case={ours.lower_case}, but the tokenizer of {directory} has "
            f"lower_case={theirs.lower_case}; make the corpus with --vocab={theirs.vocab_file}"
        )
