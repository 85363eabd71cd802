"""One network that learns a task: what it reads, how it is scored, and the stages that it goes through."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.distill import Distiller, TinyBertObjective, losses
from tinybert_tf.train.fit import Evaluation, fit
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.run import Run
from tinybert_tf.train.training_set import SpanTrainingSet, TrainingSet

# What each head is fine-tuned with.
_LABEL_LOSSES: dict[str, Callable[[], Any]] = {
    "classification": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "token_classification": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "regression": keras.losses.MeanSquaredError,
    "span": lambda: losses.span_label_loss,
}


@dataclasses.dataclass
class Trainer:
    """A network, its training set and its run.

    Attributes:
        evaluate: scores `model` on dev, the main metric first.
        tokenizer_from: the directory whose vocabulary goes with what is saved.
        precision: `model` has its `dtype`.
        settings: `max_steps`, `evaluations`, `save_every_seconds` and, with a teacher, `stage` and `student_dropout` are read.
        steps: how many were trained for, over all stages so far.
    """

    run: Run
    model: BertModel
    training: TrainingSet | SpanTrainingSet
    evaluate: Callable[[], dict[str, float]]
    tokenizer_from: Path
    settings: Any
    precision: Precision
    steps: int = 0

    def learn_labels(self, stage: str, epochs: float, learning_rate: float) -> dict[str, float]:
        """Fits the network to the labels; the best dev scores, whose weights are kept in `run.model_dir`."""
        loss = _LABEL_LOSSES[self.model.head]()
        return self._fit_scored(
            stage, logits_model(self.model), self.training, epochs, learning_rate, loss=loss, jit_compile=False
        )

    def learn_layers(
        self, teacher: BertModel, objective: TinyBertObjective, projections, epochs: float, learning_rate: float
    ) -> dict[str, float] | None:
        """The intermediate stage; keeps student and projections in `intermediate/`.

        Returns:
            The dev scores if it is the only stage, whose student is then kept in `run.model_dir`; else None.
        """
        is_last = self.settings.stage == "intermediate"
        from_batch, steps = self.training.batches(epochs, self.settings.max_steps)
        self.steps += steps
        if self.run.resumed is not None and self.run.resumed.stage == "prediction":
            return None  # it is done, and its student's weights are in the checkpoint
        distiller = Distiller(teacher, self.model, objective, projections)
        optimizer = self.precision.optimizer(bert_adamw(learning_rate, steps))
        distiller.compile(optimizer, student_dropout=self.settings.student_dropout)
        self._fit("intermediate", distiller, from_batch, steps, frozen=teacher)
        for name in ("intermediate", "last", "model") if is_last else ("intermediate",):
            self.run.save(self.model, name, self.tokenizer_from, also=distiller.save_projections)
        if not is_last:
            return None
        scores = self.evaluate()
        self.run.log("intermediate", steps, "dev", scores)
        return scores

    def learn_predictions(
        self,
        teacher: BertModel,
        objective: TinyBertObjective,
        training: TrainingSet,
        epochs: float,
        learning_rate: float,
    ) -> dict[str, float]:
        """The prediction stage on `training`; as `learn_labels`, with the teacher's logits for labels."""
        distiller = Distiller(teacher, self.model, objective)
        return self._fit_scored(
            "prediction", distiller, training, epochs, learning_rate, frozen=teacher,
            student_dropout=self.settings.student_dropout,
        )  # fmt: skip

    def _fit_scored(
        self, stage, trained, training, epochs, learning_rate, frozen=None, **compiling
    ) -> dict[str, float]:
        from_batch, steps = training.batches(epochs, self.settings.max_steps)
        self.steps += steps
        trained.compile(self.precision.optimizer(bert_adamw(learning_rate, steps)), **compiling)
        keep = lambda: self.run.save(self.model, "model", self.tokenizer_from)
        evaluation = Evaluation(self.run, stage, self.evaluate, keep, steps, self.settings.evaluations)
        self._fit(stage, trained, from_batch, steps, frozen=frozen, evaluation=evaluation)
        self.run.save(self.model, "last", self.tokenizer_from)
        return evaluation.best

    def _fit(self, stage, trained, from_batch, steps, **options) -> None:
        fit(self.run, stage, trained, from_batch, steps, batch_size=self.training.batch_size,
            save_every_seconds=self.settings.save_every_seconds, **options)  # fmt: skip
