"""One network that learns a task: its training set, its evaluation, and the stages that it goes through."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.distill import Distiller, losses
from tinybert_tf.distill.objectives import Objective
from tinybert_tf.distill.rivals import Theseus
from tinybert_tf.distill.soft_map import Annealing, LearnedMapObjective
from tinybert_tf.distribution import all_reduce_sum, several_workers
from tinybert_tf.errors import InputError
from tinybert_tf.train import plan
from tinybert_tf.train.averaging import AveragedWeights
from tinybert_tf.train.card import place_name, write_card
from tinybert_tf.train.fit import Evaluation, fit
from tinybert_tf.train.kept_weights import KeptWeights
from tinybert_tf.train.logits_file import LogitsOf
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.quantization import QuantizeAware
from tinybert_tf.train.reading import cache_folder
from tinybert_tf.train.run import Run
from tinybert_tf.train.settings import RunSettings
from tinybert_tf.train.teacher_cache import TeacherCache
from tinybert_tf.train.training_set import Extra, SpanTrainingSet, TrainingSet
from tinybert_tf.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


class LabelLoss(keras.losses.Loss):
    """The loss that a head is fine-tuned with, for `compile`: the mean over what counts in the global batch.

    Keras would divide by all rows or positions of a replica, padding and words' further tokens among them.

    Args:
        head: of the network, see `losses.label_values`.
    """

    def __init__(self, head: str):
        super().__init__(name="label_loss")
        self.head = head

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = losses.label_values(y_true, y_pred, self.head)
        weights = tf.ones_like(values) if sample_weight is None else tf.cast(sample_weight, tf.float32)
        # A replica's share of the mean: Keras adds up what the replicas return.
        return tf.math.divide_no_nan(tf.reduce_sum(values * weights), all_reduce_sum(tf.reduce_sum(weights)))


@dataclasses.dataclass
class Trainer:
    """A network, its training set and its run.

    Attributes:
        run: where measurements, checkpoints and models are written.
        settings: of the run.
        model: the network.
        training: its training set.
        evaluate: scores `model` on dev, the main metric first.
        evaluations: number of evaluations in a stage.
        tokenizer_from: whose vocabulary is saved with the model; see `save_model`.
        precision: `model` has its `dtype`.
        student_dropout: whether dropout is on while a teacher teaches.
        teacher_cache: which of the teacher's outputs are kept, see `TEACHER_CACHE_HELP`.
        cache_dir: where they are kept, see `cache_folder`.
        steps: updates over all stages so far.
        logits_of: the logits that the prediction stage learns from, where they are not those of one teacher.
        has_learned: the network has been trained for the task already, so that it may be the best before the first step of
            the prediction stage.
        quantize_aware: in a scored stage, train through the rounding of a file of this mode; see `QuantizeAware`.
        train_integers: whether that trains the weights that are rounded.
        weight_averaging: in a scored stage, score and keep the average of the weights; see `AveragedWeights`.
    """

    run: Run
    settings: RunSettings
    model: BertModel
    training: TrainingSet | SpanTrainingSet
    evaluate: Callable[[], dict[str, float]]
    evaluations: int
    tokenizer_from: str | Path | Vocabulary
    precision: Precision
    student_dropout: bool = False
    teacher_cache: str = "none"
    cache_dir: str | None = None
    steps: int = 0
    logits_of: LogitsOf | None = None
    has_learned: bool = False
    quantize_aware: str | None = None
    train_integers: bool = True
    weight_averaging: float | None = None

    def learn_labels(self, stage: str, epochs: float, learning_rate: float) -> dict[str, float] | None:
        """Fits the network to the labels; the best dev scores, whose weights are kept in `run.model_dir`.

        Args:
            stage: its name.
            epochs: passes over the training set.
            learning_rate: peak of the schedule.
        """
        loss = LabelLoss(self.model.head)
        # Keras would turn XLA on, which loses bfloat16 products on a CPU and compiles once for each batch length.
        return self._fit_scored(stage, logits_model(self.model), epochs, learning_rate, loss=loss, jit_compile=False)

    def learn_layers(
        self,
        teacher: BertModel,
        objective: Objective,
        projections,
        epochs: float,
        learning_rate: float,
        *,
        constant_rate: bool = False,
        save_as: str = "intermediate",
    ) -> None:
        """The intermediate stage; keeps student and projections in the directory `save_as` of the run.

        Args:
            teacher: frozen.
            objective: of intermediate losses.
            projections: starting values; see `Distiller`.
            epochs: passes over the training set.
            learning_rate: peak of the schedule.
            constant_rate: keep the rate constant, without warm-up and decay, as the published code does in this stage.
            save_as: name of the directory.
        """
        if self.run.resumed is not None and self.run.resumed.stage == "prediction":
            self.steps += self.training.batches(epochs, self.settings.max_steps)[1]
            return  # it is done, and its student's weights are in the checkpoint
        distiller = Distiller(teacher, self.model, objective, projections)
        extra = self.teacher_outputs("intermediate", distiller, epochs, self.settings.max_steps)
        batches, steps = self.training.batches(epochs, self.settings.max_steps, extra)
        self.steps += steps
        constant = {"warmup_proportion": 0.0, "decay": False} if constant_rate else {}
        optimizer = self.precision.optimizer(bert_adamw(learning_rate, steps, **constant))
        distiller.compile(optimizer, student_dropout=self.student_dropout)
        around = []
        if isinstance(objective, LearnedMapObjective):
            objective.weights.set_reach(learning_rate, steps)
            around = [Annealing(objective.weights, steps)]
        self._fit("intermediate", distiller, batches, steps, frozen=teacher, around_steps=around)
        self.run.save(self.model, save_as, self.tokenizer_from, also=distiller.save_projections)

    def learn_predictions(
        self,
        teacher: BertModel,
        objective: Objective,
        projections,
        epochs: float,
        learning_rate: float,
    ) -> dict[str, float] | None:
        """The prediction stage; as `learn_labels`, with the teacher's logits for labels.

        Args:
            teacher: frozen.
            objective: of the predictions, and in some methods of hidden states as well.
            projections: starting values for these; see `Distiller`.
            epochs: passes over the training set.
            learning_rate: peak of the schedule.

        Returns:
            Dev scores of the model that is kept; None for a dry run.
        """
        distiller = Distiller(teacher, self.model, objective, projections)
        return self._fit_scored(
            "prediction",
            distiller,
            epochs,
            learning_rate,
            frozen=teacher,
            student_dropout=self.student_dropout,
        )

    def replace_modules(self, teacher: BertModel, epochs: float, learning_rate: float) -> dict[str, float] | None:
        """BERT-of-Theseus: the network's layers replace the teacher's over the first half of the steps."""
        _, steps = self.training.batches(epochs, self.settings.max_steps)
        trained = Theseus(teacher, self.model, replacing_steps=max(1, steps // 2))
        loss = LabelLoss(self.model.head)
        return self._fit_scored(
            "prediction", trained, epochs, learning_rate, frozen=teacher, loss=loss, jit_compile=False
        )

    def finish(self, scores: dict[str, float] | None, **more: Any) -> dict[str, Any]:
        """Writes and returns the result of the run; of a dry run, its estimate."""
        task = self.training.task
        if self.run.plan is not None:
            return {"task": task.name} | plan.summary(self.run.plan, 4 * self.model.count_params())
        result = {"task": task.name, "score": scores[task.main_metric], "metrics": scores}
        data = f"{self.training.rows:,} examples of {task.name} ({place_name(self.training.split.source)})"
        write_card(self.run, self.model, data, task=task.name, scores=scores, teacher_score=more.get("teacher_score"))
        return self.run.finish(result | {"model": str(self.run.model_dir), "steps": self.steps} | more)

    def _fit_scored(self, stage, trained, epochs, learning_rate, frozen=None, **compiling) -> dict[str, float] | None:
        extra = None
        if isinstance(trained, Distiller):
            extra = self.teacher_outputs(stage, trained, epochs, self.settings.max_steps)
        batches, steps = self.training.batches(epochs, self.settings.max_steps, extra)
        self.steps += steps
        trained.compile(self.precision.optimizer(bert_adamw(learning_rate, steps)), **compiling)
        kept = self._kept_weights(stage)

        def evaluate() -> dict[str, float]:
            with kept.in_network():
                return self.evaluate()

        def save(name: str) -> None:
            with kept.in_network():
                self.run.save(self.model, name, self.tokenizer_from, also=kept.mark)

        evaluation = Evaluation(
            self.run, stage, evaluate, lambda: save("model"), steps, self.evaluations, before_training=self.has_learned
        )
        self._fit(
            stage, trained, batches, steps, frozen=frozen, evaluation=evaluation, around_steps=kept.callbacks,
            state=kept.state,
        )  # fmt: skip
        save("last")
        if evaluation.best_step == 0:
            logger.warning(
                "%s  no step was better on dev than the start, which is kept; try a lower learning rate", stage
            )
        return evaluation.best

    def _kept_weights(self, stage: str) -> KeptWeights:
        rounding = average = None
        if self.quantize_aware:
            rounding = QuantizeAware(self.model, self.quantize_aware, self.train_integers)
            # A checkpoint has what it chooses.
            if self.run.plan is None and not self.run.steps_done(stage):
                rounding.start_from(self.training.texts())
        if self.weight_averaging:
            average = AveragedWeights(self.model, self.weight_averaging)
        return KeptWeights(rounding, average)

    def teacher_outputs(self, stage: str, distiller: Distiller, epochs: float, max_steps: int | None) -> Extra | None:
        """Features with the teacher's outputs for all examples of a stage, computed here; None where each step computes them.

        Args:
            stage: its name.
            distiller: has the teacher.
            epochs: passes over the training set.
            max_steps: the most steps of the stage.
        """
        if self.logits_of is not None and stage == "prediction" and self.run.plan is None:
            if self.training.shards is None:
                raise InputError(f"{self.run.directory}: an earlier version began this run; take another `output_dir`")
            return self.logits_of(self.training.rows_of(epochs, max_steps))
        has_rows = self.training.shards is not None and distiller.teacher_reader.submodel is not None
        if self.teacher_cache == "none" or not has_rows or several_workers():
            self._warn_of_states(
                "the examples are not kept as rows on this machine" if not has_rows else "several workers train"
            )
            return None
        folder = cache_folder(self.run.directory, self.cache_dir)
        cache = TeacherCache(folder, self.training.shards, distiller.teacher_reader)
        if distiller.teacher_reader.names != ("logits",):
            excludes_padding = getattr(distiller.objective, "padding", None) == "exclude"
            if not excludes_padding:
                self._warn_of_states("the objective reads the states of padding, or others than TinyBERT's")
            if not (excludes_padding and cache.keeps_states(self.teacher_cache, epochs)):
                return None
        if self.teacher_cache == "auto" and not cache.has_room:
            logger.warning("%s: no room for the teacher's logits; each step runs the teacher", folder)
            return None
        cache.compute(self.training.rows_of(epochs, max_steps, self.run.steps_done(stage)))
        return cache.features()

    def _warn_of_states(self, reason: str) -> None:
        if self.teacher_cache == "states":
            logger.warning("teacher_cache=states is not used, and each step runs the teacher: %s", reason)

    def _fit(self, stage, trained, batches, steps, **options) -> None:
        options |= {"batch_size": self.training.batch_size, "save_every_seconds": self.settings.save_every_seconds}
        fit(self.run, stage, trained, batches, steps, **options)
