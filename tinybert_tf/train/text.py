"""Training on plain text: settings, batches and held-out evaluation that general distillation and pre-training share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.corpus import Corpus
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_at_least_one, check_positive, check_rate, setting
from tinybert_tf.train.settings import RunSettings
from tinybert_tf.vocabulary import differing_settings

# Held-out examples of an evaluation, at most, and how many at a time.
_HELD_OUT, _HELD_OUT_BATCH = 2048, 64


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """A corpus and the training schedule on it."""

    corpus: str = setting("", "the directory that bin/make_corpus.py wrote", required=True)
    epochs: float = setting(3.0, "passes over the corpus")
    train_batch_size: int = setting(256, "examples in a step")
    learning_rate: float = setting(1e-4, "peak of the schedule, which falls to zero at the last step")
    warmup_proportion: float = setting(0.03, "share of the steps with a rising learning rate")
    evaluations: int = setting(20, "number of evaluations on held-out text")

    def __post_init__(self):
        check_at_least_one(self, "train_batch_size", "evaluations")
        check_positive(self, "epochs")
        check_rate(self, "learning_rate")
        if not 0 <= self.warmup_proportion < 1:
            raise InputError("must be from 0 to below 1", "warmup_proportion", self.warmup_proportion)


def training_batches(
    settings: TextSettings, run: RunSettings, corpus: Corpus, read: Callable[..., tf.data.Dataset], **reading
) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """(batches, steps) of the passes over the corpus; `batches(n)` returns the dataset from batch n on.

    Args:
        settings: batch size and passes.
        run: seed and largest number of steps.
        corpus: the text.
        read: `corpus.batches` or `corpus.masked_batches`.
        reading: its further arguments.
    """
    whole = -int(-settings.epochs // 1)
    steps = max(1, round(corpus.steps(settings.train_batch_size, whole) * settings.epochs / whole))
    steps = min(steps, run.max_steps) if run.max_steps else steps
    reading |= {"batch_size": settings.train_batch_size, "shuffle_seed": run.seed, "epochs": whole}
    return (lambda first: read(first_batch=first, **reading).take(steps - first)), steps


def held_out_means(
    model: keras.Model, corpus: Corpus, read: Callable[..., tf.data.Dataset], prepare=None, **reading
) -> Callable[[], dict[str, float]]:
    """A function that returns the means of what `model` measures over the corpus' held-out text.

    Every worker reads all of it, so that all get the same means.

    Args:
        model: with a method `measure`, as `Distiller` has.
        corpus: the text.
        read: `corpus.batches` or `corpus.masked_batches`, with its further arguments in `reading`.
        prepare: applied to each batch.
    """
    if not corpus.held_out_examples:
        raise InputError("the corpus has no held-out examples; make it again with some (`held_out`)")
    dataset = read(batch_size=_HELD_OUT_BATCH, held_out=True, **reading).take(_HELD_OUT // _HELD_OUT_BATCH)
    dataset = (dataset if prepare is None else dataset.map(prepare)).cache()
    measure = tf.function(model.measure, autograph=False)

    def evaluate() -> dict[str, float]:
        batches = [measure(batch) for batch in dataset]
        weights = [float(weight) for _, weight in batches]
        return {
            name: float(np.average([float(means[name]) for means, _ in batches], weights=weights))
            for name in batches[0][0]
        }

    return evaluate


def check_vocabulary(corpus: Corpus, directory: Path) -> None:
    """Raises InputError where the corpus was made with other words or another normalization than the model in `directory`."""
    of_corpus, of_model = corpus.tokenizer, Tokenizer.from_directory(directory)
    if of_corpus.vocabulary != of_model.vocabulary:
        others = "" if of_corpus.vocab_size != of_model.vocab_size else " others"
        raise InputError(
            f"the corpus was made with a vocabulary of {of_corpus.vocab_size} words ({of_corpus.vocab_file}), but "
            f"{of_model.vocab_file} has {of_model.vocab_size}{others}; make the corpus with `vocab={of_model.vocab_file}`"
        )
    for name, ours, theirs in differing_settings(of_corpus.spec, of_model.spec):
        raise InputError(
            f"the corpus was made with {name}={ours}, but the tokenizer of {directory} has {name}={theirs}; make the corpus "
            f"with `vocab={of_model.vocab_file}`"
        )
