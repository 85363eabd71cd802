"""Keras' fit over one stage of a run: measured, evaluated, checkpointed, and gone on with where it was cut off."""

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.distribution import any_worker, copy_from_chief, prepare_for_fit, sharded
from tinybert_tf.errors import InputError
from tinybert_tf.train.checkpoint import Interruption, noticed_interruptions, restore, training_variables
from tinybert_tf.train.run import Run

SAVE_EVERY_SECONDS = 300.0


class StepCallback(keras.callbacks.Callback):
    """A callback that is told the number of the step, counted from the beginning of the stage."""

    first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.on_step(self.first_step + batch + 1, logs or {})

    def on_step(self, step: int, logs: dict) -> None:
        """Called after each update with the means of the metrics so far; a hook, like Keras' own."""


class Progress(StepCallback):
    """Loss, its parts and examples/s: a row of metrics.jsonl every so many steps, a line of text every few seconds."""

    def __init__(self, run: Run, stage: str, steps: int, batch_size: int, every_seconds: float = 10.0):
        super().__init__()
        self.run, self.stage, self.steps, self.batch_size = run, stage, steps, batch_size
        self.every_seconds = every_seconds
        # By steps and not by time, so that every run of the same settings has the same rows.
        self.row_every = max(1, min(100, steps // 100))

    def on_train_begin(self, logs=None):
        self._row = self._shown = (self.first_step, time.perf_counter())

    def on_step(self, step, logs):
        now = time.perf_counter()
        show = step == self.steps or now - self._shown[1] >= self.every_seconds
        row = step == self.steps or step % self.row_every == 0
        if not (show or row):
            return
        values = {name: float(value) for name, value in logs.items()}
        if show:
            rate = self._examples_per_second(self._shown, step, now)
            left = (self.steps - step) * self.batch_size / rate / 60
            parts = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            print(
                f"{self.stage}  step {step}/{self.steps}  {parts}  {rate:.0f} examples/s  {left:.1f} min left",
                flush=True,
            )
            self._shown = (step, now)
        if row:
            rate = self._examples_per_second(self._row, step, now)
            self.run.log(self.stage, step, "train", values | {"examples_per_second": rate})
            self._row = (step, now)
            self.model.reset_metrics()  # so that the next row is the mean of its own steps

    def _examples_per_second(self, since: tuple[int, float], step: int, now: float) -> float:
        return (step - since[0]) * self.batch_size / max(1e-9, now - since[1])


class Evaluation(StepCallback):
    """Scores the model every `every` steps and at the end; calls `save` when it is the best so far.

    Args:
        evaluate: returns the scores, the one that decides first; more is better.
        save: keeps the model.
        before_training: score the starting point too.
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

    def on_train_begin(self, logs=None):
        if self.before_training and self.first_step == 0:
            self._score(0)

    def on_step(self, step, logs):
        # No evaluation within the last tenth of an interval: the one at the end stands for it.
        due = step % self.every == 0 and self.steps - step > self.every // 10
        if step == self.steps or due:
            self._score(step)

    def _score(self, step: int) -> None:
        scores = self.evaluate()
        main = next(iter(scores))
        self.run.log(self.stage, step, self.split, scores)
        is_best = self.best is None or scores[main] > self.best[main]
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(
            f"{self.stage}  step {step}/{self.steps}  {self.split}  {shown}{'  (best)' if is_best else ''}", flush=True
        )
        if is_best:
            self.best = scores
            self.save()


class _FiniteLoss(StepCallback):
    """Stops a run whose loss is not a number any more, and writes down the batch that did it."""

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
            "Lower the learning rate, and name another --output_dir"
        )


class _Checkpointing(StepCallback):
    """Writes a checkpoint every few minutes, at the end of the stage, and when the program is to stop."""

    def __init__(self, run, stage, steps, variables, evaluation, every_seconds, interruption: Interruption):
        super().__init__()
        self.run, self.stage, self.steps, self.variables = run, stage, steps, variables
        self.evaluation, self.every_seconds, self.interruption = evaluation, every_seconds, interruption

    def on_epoch_begin(self, epoch, logs=None):
        """Here and not earlier: fit has just set the metrics to zero."""
        self._written_at = time.perf_counter()
        if self.first_step:
            restore(self.variables, self.run.resumed)

    def on_step(self, step, logs):
        overdue = time.perf_counter() - self._written_at >= self.every_seconds
        interrupted, overdue = any_worker(self.interruption.received, overdue)
        if not (step == self.steps or overdue or interrupted):
            return
        state = {} if self.evaluation is None else {"best": self.evaluation.best}
        # Every worker reads them: those of the metrics are sums over all.
        arrays = [np.asarray(variable) for variable in self.variables]
        self.run.write_checkpoint(self.stage, step, self.steps, state, arrays)
        self._written_at = time.perf_counter()
        if interrupted:
            raise KeyboardInterrupt(f"after step {step} of {self.stage}; start the same command again to go on")


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
) -> None:
    """Trains a compiled model for `steps` batches, from the last checkpoint on if there is one of this stage.

    Args:
        batches: `batches(first)` are the stage's batches without the first so many.
        batch_size: examples in a batch, over all replicas.
        evaluation: scores the model on the way.
        frozen: a part of the model that does not train.
        save_every_seconds: how often a checkpoint is written.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came in; a checkpoint of the last whole step is written.
        FloatingPointError: the loss is not finite; the batch is in `not_finite.npz`.
    """
    variables = training_variables(model, frozen)
    first = 0
    if run.resumed and run.resumed.stage == stage:
        first = run.resumed.step
        if run.resumed.steps != steps:
            raise InputError(
                f"{run.directory}: {stage} had {run.resumed.steps} steps when it began and has {steps} now: the data has "
                "changed; name another --output_dir"
            )
        restore(variables, run.resumed)
        if evaluation is not None:
            evaluation.best = run.resumed.state["best"]
        print(f"{stage}  goes on after step {first}/{steps}", flush=True)
    if first == steps:
        return
    prepare_for_fit(model)
    copy_from_chief(model.trainable_variables)
    with noticed_interruptions() as interruption:
        callbacks = [_FiniteLoss(run, stage, batches), Progress(run, stage, steps, batch_size)]
        callbacks += [evaluation] if evaluation is not None else []
        callbacks.append(_Checkpointing(run, stage, steps, variables, evaluation, save_every_seconds, interruption))
        for callback in callbacks:
            callback.first_step = first
        data = sharded(batches(first), batch_size)
        model.fit(data, epochs=1, steps_per_epoch=steps - first, shuffle=False, verbose=0, callbacks=callbacks)
