"""Estimates the time, memory and disk space of a run (`--dry_run`)."""

import dataclasses
import resource
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.distribution import sharded

# The first step also traces the graph; the mean of the others is what a step takes.
_TIMED_STEPS = 5
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One training stage: its updates, how long they take, and the bytes of a checkpoint."""

    steps: int
    seconds: float
    checkpoint_bytes: int


def timed_stage(
    model: keras.Model,
    batches: tf.data.Dataset,
    steps: int,
    batch_size: int,
    variables: Sequence[keras.Variable],
    around_steps: Sequence[keras.callbacks.Callback] = (),
) -> StagePlan:
    """Trains a compiled model for a few steps and extrapolates.

    Args:
        model: compiled; its weights change.
        batches: of the stage.
        steps: of the stage.
        batch_size: examples in a batch, over all replicas.
        variables: what a checkpoint of the stage holds.
        around_steps: callbacks that act before and after each step.
    """
    tried = min(steps, 1 + _TIMED_STEPS)
    ends = [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(
        sharded(batches.take(tried), batch_size), steps_per_epoch=tried, verbose=0, callbacks=[*around_steps, clock]
    )
    per_step = np.diff(ends)
    seconds = float(np.mean(per_step[1:] if tried > 1 else per_step)) * steps
    return StagePlan(steps, seconds, sum(int(np.prod(v.shape)) * 4 for v in variables))


def summary(stages: Sequence[StagePlan], weight_bytes: int) -> dict[str, float]:
    """The RESULT of a dry run: `steps`, `minutes` (without evaluations), `memory_gb`, `disk_gb`.

    Args:
        stages: of the run.
        weight_bytes: of the model in float32; a run keeps two, and a third after an intermediate stage.
    """
    checkpoints = 2 * max(stage.checkpoint_bytes for stage in stages)
    models = (1 + len(stages)) * weight_bytes
    return {
        "steps": sum(stage.steps for stage in stages),
        "minutes": round(sum(stage.seconds for stage in stages) / 60, 2),
        "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GB, 2),  # Linux counts in KB
        "disk_gb": round((checkpoints + models) / _GB, 3),
    }
