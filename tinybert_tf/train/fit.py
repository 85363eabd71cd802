"""Runs one training stage with `Model.fit`: logging, evaluation, checkpoints, resume."""

import logging
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.distribution import any_worker, copy_from_chief, prepare_for_fit, several_workers, sharded
from tinybert_tf.errors import InputError
from tinybert_tf.progress import Progress
from tinybert_tf.train import plan
from tinybert_tf.train.attention_images import AttentionImages, can_draw
from tinybert_tf.train.checkpoint import Interruption, deferred_signals, restore, training_variables
from tinybert_tf.train.run import Run
from tinybert_tf.train.settings import SAVE_EVERY_SECONDS

logger = logging.getLogger(__name__)

# Attention maps of teacher and student in a stage, besides those at its beginning.
_ATTENTION_MAPS = 5


class StepCallback(keras.callbacks.Callback):
    """A callback that gets the number of the step, counted from the beginning of the stage."""

    first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.on_step(self.first_step + batch + 1, logs or {})

    def on_step(self, step: int, logs: dict) -> None:
        """Called after each update with the means of the metrics so far; a hook, like Keras' own."""


class _Measurements(StepCallback):
    """Loss, its parts, learning rate, gradient norm and examples/s: rows of metrics.jsonl and a progress line."""

    def __init__(self, run: Run, stage: str, steps: int, batch_size: int):
        super().__init__()
        self.run, self.stage, self.steps, self.batch_size = run, stage, steps, batch_size
        # By steps, not by time, so that runs of the same settings log the same rows.
        self.row_every = max(1, min(100, steps // 100))

    def on_train_begin(self, logs=None):
        self._progress = Progress(self.stage, self.steps, "step", self.batch_size, begin=self.first_step)
        self._row = (self.first_step, time.perf_counter())

    def on_step(self, step, logs):
        is_row = step == self.steps or step % self.row_every == 0
        if not (is_row or self._progress.is_due(step)):
            return
        values = {name: float(value) for name, value in logs.items()}
        self._progress.show(step, values)
        if is_row:
            now = time.perf_counter()
            rate = (step - self._row[0]) * self.batch_size / max(1e-9, now - self._row[1])
            values |= {"learning_rate": float(self.model.optimizer.learning_rate), "examples_per_second": rate}
            optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
            values["gradient_norm"] = float(tf.convert_to_tensor(optimizer.gradient_norm))
            self.run.log(self.stage, step, "train", values)
            self._row = (step, now)
            self.model.reset_metrics()  # so that the next row is the mean of its own steps

    def on_train_end(self, logs=None):
        self._progress.close()


class Evaluation(StepCallback):
    """Scores the model every `every` steps and at the end; calls `save` when it is the best so far.

    Args:
        evaluate: returns the scores, the main one first; higher is better.
        save: keeps the model.
        before_training: also score the initial weights.
    """

    def __init__(
        self,
        run: Run,
        stage: str,
        evaluate: Callable[[], dict[str, float]],
        save: Callable[[], object],
        steps: int,
        evaluations: int,
        split: str = "dev",
        before_training: bool = False,
    ):
        super().__init__()
        self.run, self.stage, self.evaluate, self.save = run, stage, evaluate, save
        self.steps, self.every, self.split = steps, -(-steps // evaluations), split
        self.before_training = before_training
        self.best: dict[str, float] | None = None
        self.best_step: int | None = None

    def on_train_begin(self, logs=None):
        if self.before_training and self.first_step == 0:
            self._score(0)

    def on_step(self, step, logs):
        # No evaluation within the last tenth of an interval: the final one follows soon.
        due = step % self.every == 0 and self.steps - step > self.every // 10
        if step == self.steps or due:
            self._score(step)

    def _score(self, step: int) -> None:
        scores = self.evaluate()
        main = next(iter(scores))
        self.run.log(self.stage, step, self.split, scores)
        is_best = self.best is None or scores[main] > self.best[main]
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        best = "  (best)" if is_best else ""
        logger.info("%s  step %d/%d  %s  %s%s", self.stage, step, self.steps, self.split, shown, best)
        if is_best:
            self.best, self.best_step = scores, step
            self.save()


class _AttentionMaps(StepCallback):
    """Shows in TensorBoard what the student attends to beside its teacher, on the first example of a stage."""

    def __init__(self, run: Run, stage: str, batches: Callable[[int], tf.data.Dataset], steps: int):
        super().__init__()
        self.run, self.stage, self.batches, self.every = run, stage, batches, -(-steps // _ATTENTION_MAPS)
        self.steps = steps

    def on_train_begin(self, logs=None):
        features = keras.utils.unpack_x_y_sample_weight(next(iter(self.batches(0))))[0]
        self._images = AttentionImages(self.model, features)
        if self.first_step == 0:
            self._show(0)

    def on_step(self, step, logs):
        if step % self.every == 0 or step == self.steps:
            self._show(step)

    def _show(self, step: int) -> None:
        self.run.log_images(self.stage, step, self._images.draw())


class _FiniteLoss(StepCallback):
    """Stops a run when its loss is not finite, and saves the batch that caused it."""

    def __init__(self, run: Run, stage: str, batches: Callable[[int], tf.data.Dataset]):
        super().__init__()
        self.run, self.stage, self.batches = run, stage, batches

    def on_step(self, step, logs):
        if np.isfinite(float(logs["loss"])):
            return
        features, label, weight = keras.utils.unpack_x_y_sample_weight(next(iter(self.batches(step - 1))))
        arrays = features | {"label": label, "weight": weight}
        arrays = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
        self.run.write_arrays("not_finite.npz", arrays)
        raise FloatingPointError(
            f"{self.stage}, step {step}: the loss is not finite; the batch is in {self.run.directory / 'not_finite.npz'}. "
            "Lower the learning rate, and name another output directory"
        )


class _Checkpointing(StepCallback):
    """Writes a checkpoint every few minutes, at the end of the stage, and on an interruption."""

    def __init__(self, run, stage, steps, variables, evaluation, every_seconds, interruption: Interruption):
        super().__init__()
        self.run, self.stage, self.steps, self.variables = run, stage, steps, variables
        self.evaluation, self.every_seconds, self.interruption = evaluation, every_seconds, interruption

    def on_epoch_begin(self, epoch, logs=None):
        """Not earlier: `fit` has just reset the metrics."""
        self._written_at = time.perf_counter()
        if self.first_step:
            restore(self.variables, self.run.resumed)

    def on_step(self, step, logs):
        overdue = time.perf_counter() - self._written_at >= self.every_seconds
        interrupted, overdue = any_worker(self.interruption.received, overdue)
        if not (step == self.steps or overdue or interrupted):
            return
        state = {}
        if self.evaluation is not None:
            state = {"best": self.evaluation.best, "best_step": self.evaluation.best_step}
        # Every worker reads them: those of the metrics are sums over all.
        arrays = [np.asarray(variable) for variable in self.variables]
        self.run.write_checkpoint(self.stage, step, self.steps, state, arrays)
        self._written_at = time.perf_counter()
        if interrupted:
            raise _interrupted(self.stage, step)


def fit(
    run: Run,
    stage: str,
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    steps: int,
    *,
    batch_size: int,
    evaluation: Evaluation | None = None,
    frozen: keras.Model | None = None,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
    around_steps: Sequence[keras.callbacks.Callback] = (),
    state: Sequence[tf.Variable] = (),
) -> None:
    """Trains a compiled model for `steps` batches, from the last checkpoint on if there is one of this stage.

    In a dry run a few batches are trained and timed, and `run.plan` gets what the stage would take.

    Args:
        batches: `batches(n)` returns the stage's dataset from batch n on.
        batch_size: examples in a batch, over all replicas.
        evaluation: scores the model during training.
        frozen: a part of the model that does not train.
        save_every_seconds: seconds between two checkpoints.
        around_steps: callbacks that act before and directly after each step.
        state: variables of theirs that a checkpoint has to hold.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came in; a checkpoint of the last whole step is written.
        FloatingPointError: the loss is not finite; the batch is in `not_finite.npz`.
    """
    variables = [*training_variables(model, frozen), *state]
    if run.plan is not None:
        prepare_for_fit(model)
        run.plan.append(plan.timed_stage(model, batches(0), steps, batch_size, variables, around_steps))
        return
    first = _resumed_step(run, stage, steps, variables, evaluation)
    if first == steps:
        return
    prepare_for_fit(model)
    copy_from_chief(model.trainable_variables)
    with deferred_signals() as interruption:
        callbacks = [_FiniteLoss(run, stage, batches), _Measurements(run, stage, steps, batch_size)]
        callbacks += [evaluation] if evaluation is not None else []
        if run.writes and can_draw(model) and not several_workers():
            callbacks.append(_AttentionMaps(run, stage, batches, steps))
        callbacks.append(_Checkpointing(run, stage, steps, variables, evaluation, save_every_seconds, interruption))
        for callback in callbacks:
            callback.first_step = first
        data = sharded(batches(first), batch_size)
        model.fit(
            data,
            epochs=1,
            steps_per_epoch=steps - first,
            shuffle=False,
            verbose=0,
            callbacks=[*around_steps, *callbacks],
        )
        # A signal that came in while the last step's checkpoint was written.
        if any_worker(interruption.received)[0]:
            raise _interrupted(stage, steps)


def _interrupted(stage: str, step: int) -> KeyboardInterrupt:
    return KeyboardInterrupt(f"after step {step} of {stage}; start the same command again to resume")


def _resumed_step(run: Run, stage: str, steps: int, variables, evaluation: Evaluation | None) -> int:
    """The step of the checkpoint that the stage resumes from, whose state is restored; 0 without one."""
    if not (run.resumed and run.resumed.stage == stage):
        return 0
    if run.resumed.steps != steps:
        raise InputError(
            f"{run.directory}: {stage} had {run.resumed.steps} steps when it began and has {steps} now: the data has "
            "changed; name another `output_dir`"
        )
    restore(variables, run.resumed)
    if evaluation is not None:
        evaluation.best, evaluation.best_step = run.resumed.state["best"], run.resumed.state.get("best_step")
    logger.info("%s  resumes after step %d/%d", stage, run.resumed.step, steps)
    return run.resumed.step
