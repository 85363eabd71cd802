"""Short trainings that score layer maps. They share the networks and the compiled steps."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel, logits_model
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill import Distiller
from tinybert_tf.distill.chosen_map import ChosenMapObjective
from tinybert_tf.distill.objectives import Objective, TinyBertObjective
from tinybert_tf.distribution import prepare_for_fit, sharded
from tinybert_tf.train.checkpoint import training_variables
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.trainer import LabelLoss, Trainer
from tinybert_tf.train.training_set import SpanTrainingSet, TrainingSet

# The student's weights and projections that a map begins with.
Start = tuple[Sequence[np.ndarray], Sequence[Projection] | None]


@dataclasses.dataclass(frozen=True)
class TrialStage:
    """A stage of every trial.

    Attributes:
        objective: of a distillation; None to learn the labels. A `TinyBertObjective` with a list of `layers` gets the map of
            the trial.
        training: its training set.
        epochs: at most.
        learning_rate: peak of the schedule.
        constant_rate: see `Trainer.learn_layers`.
    """

    objective: Objective | None
    training: TrainingSet | SpanTrainingSet
    epochs: float
    learning_rate: float
    constant_rate: bool = False


class MapTrials:
    """Scores layer maps by dev after a few steps.

    Args:
        trainer: has the student and its evaluation; nothing is written to its run.
        teacher: frozen.
        stages: in order; their names are those of the trainer's stages.
        start: what the student begins with for a map.
    """

    def __init__(
        self,
        trainer: Trainer,
        teacher: BertModel,
        stages: Mapping[str, TrialStage],
        start: Callable[[tuple[int, ...]], Start],
    ):
        self.trainer, self.teacher, self.stages, self.start = trainer, teacher, stages, start
        self._compiled: tuple[int, list[_Compiled]] = (0, [])

    def score(self, layers: tuple[int, ...], steps: int) -> float:
        """The main dev score after `steps` updates, divided among the stages.

        Args:
            layers: the map.
            steps: a trial of as many steps as the last one compiles nothing.
        """
        if steps != self._compiled[0]:
            each = max(1, steps // len(self.stages))
            self._compiled = (steps, [self._compile(name, stage, each) for name, stage in self.stages.items()])
        weights, projections = self.start(layers)
        self.trainer.model.set_weights(weights)
        for stage in self._compiled[1]:
            stage.train(layers, projections)
        return next(iter(self.trainer.evaluate().values()))

    def _compile(self, name: str, stage: TrialStage, steps: int) -> "_Compiled":
        student, objective, extra = self.trainer.model, stage.objective, None
        if isinstance(objective, TinyBertObjective) and not isinstance(objective.layers, str):
            objective = ChosenMapObjective(objective)
        compiling = {"loss": LabelLoss(student.head), "jit_compile": False}
        model = logits_model(student)
        if objective is not None:
            compiling = {"student_dropout": self.trainer.student_dropout}
            model = Distiller(self.teacher, student, objective)
            of_stage = dataclasses.replace(self.trainer, training=stage.training)
            extra = of_stage.teacher_outputs(name, model, stage.epochs, steps)
        read, steps = stage.training.batches(stage.epochs, steps, extra)
        schedule = {"warmup_proportion": 0.0, "decay": False} if stage.constant_rate else {}
        model.compile(self.trainer.precision.optimizer(bert_adamw(stage.learning_rate, steps, **schedule)), **compiling)
        prepare_for_fit(model)
        own = {id(variable) for variable in student.weights}
        changing = [v for v in training_variables(model, self.teacher) if id(v) not in own]
        initial = [(variable, np.asarray(variable)) for variable in changing]
        return _Compiled(model, objective, lambda: sharded(read(0), stage.training.batch_size), steps, initial)


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """A stage that is ready to train; `initial` holds what it changes beside the student's weights, with the first values."""

    model: keras.Model
    objective: Objective | None
    batches: Callable[[], tf.data.Dataset | tf.distribute.DistributedDataset]
    steps: int
    initial: list[tuple[keras.Variable, np.ndarray]]

    def train(self, layers: tuple[int, ...], projections: Sequence[Projection] | None) -> None:
        for variable, value in self.initial:
            variable.assign(value)
        if isinstance(self.objective, ChosenMapObjective):
            self.objective.choose(layers)
            for index, layer in self.model.projections.items() if projections else ():
                if (kept := projections[int(index)]) is not None:
                    layer.set_weights(kept)
        self.model.fit(self.batches(), epochs=1, steps_per_epoch=self.steps, shuffle=False, verbose=0)
