"""What a training program leaves behind: settings, measurements, models."""

import dataclasses
import importlib.metadata
import json
import logging
import platform
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.huggingface import save_model
from tinybert_tf.files import write_json

logger = logging.getLogger(__name__)

_PACKAGES = ("tinybert_tf", "tensorflow", "keras", "tensorflow-text", "numpy")


class Run:
    """A run directory: `run.json`, `metrics.jsonl`, TensorBoard events and models.

    Args:
        directory: made if it does not exist.
        settings: the dataclass that the run was started with; written to `run.json` with versions and command line.
    """

    def __init__(self, directory: str | Path, settings: Any):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.metrics_file = self.directory / "metrics.jsonl"
        self.metrics_file.write_text("")
        self._events = tf.summary.create_file_writer(str(self.directory / "events"))
        self.description = {
            "settings": dataclasses.asdict(settings),
            "seed": settings.seed,
            "command": sys.argv,
            "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        }
        write_json(self.directory / "run.json", self.description)

    @property
    def model_dir(self) -> Path:
        """The best model on dev: what the run is for."""
        return self.directory / "model"

    def log(self, stage: str, step: int, split: str, values: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl and the same numbers to TensorBoard."""
        values = {name: float(value) for name, value in values.items()}
        line = {"stage": stage, "step": step, "split": split} | values
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{stage}/{split}/{name}", value)

    def save(self, model: BertModel, name: str, tokenizer_from: str | Path) -> Path:
        save_model(model, self.directory / name, tokenizer_from=tokenizer_from)
        return self.directory / name

    def finish(self, result: dict[str, Any]) -> None:
        """Adds the result to run.json."""
        self._events.close()
        write_json(self.directory / "run.json", self.description | {"result": result})


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class Progress(keras.callbacks.Callback):
    """A line every few seconds, on a terminal or in a log: step, loss and its parts, examples/s, time left."""

    def __init__(self, run: Run, stage: str, steps: int, batch_size: int, every_seconds: float = 10.0):
        super().__init__()
        self.run, self.stage, self.steps, self.batch_size = run, stage, steps, batch_size
        self.every_seconds = every_seconds

    def on_train_begin(self, logs=None):
        self._shown_step, self._shown_at = 0, time.perf_counter()
        self._sums = {}

    def on_train_batch_end(self, batch, logs=None):
        step, now = batch + 1, time.perf_counter()
        if step != self.steps and now - self._shown_at < self.every_seconds:
            return
        # Keras keeps a mean since the start of the epoch; the difference is the mean since the last line.
        recent = {name: self._since_last(name, float(value), step) for name, value in (logs or {}).items()}
        if not np.isfinite(recent.get("loss", 0.0)):
            raise FloatingPointError(f"{self.stage}, step {step}: the loss is not finite; lower the learning rate")
        rate = (step - self._shown_step) * self.batch_size / max(1e-9, now - self._shown_at)
        left = (self.steps - step) * self.batch_size / rate
        parts = "  ".join(f"{name} {value:.4f}" for name, value in recent.items())
        print(
            f"{self.stage}  step {step}/{self.steps}  {parts}  {rate:.0f} examples/s  {left / 60:.1f} min left",
            flush=True,
        )
        self.run.log(self.stage, step, "train", recent | {"examples_per_second": rate})
        self._shown_step, self._shown_at = step, now

    def _since_last(self, name: str, mean: float, step: int) -> float:
        total, previous = mean * step, self._sums.get(name, 0.0)
        self._sums[name] = total
        return (total - previous) / max(1, step - self._shown_step)


class DevEvaluation(keras.callbacks.Callback):
    """Scores the model on dev every `every` steps and at the end; keeps the best one in `run.model_dir`."""

    def __init__(self, run: Run, stage: str, model: BertModel, evaluate, steps: int, every: int, tokenizer_from):
        super().__init__()
        self.run, self.stage, self.network, self.evaluate = run, stage, model, evaluate
        self.steps, self.every, self.tokenizer_from = steps, max(1, every), tokenizer_from
        self.best: dict[str, float] | None = None

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        # No evaluation within the last tenth of an interval: the one at the end stands for it.
        due = step % self.every == 0 and self.steps - step > self.every // 10
        if step != self.steps and not due:
            return
        scores = self.evaluate()
        main = next(iter(scores))
        self.run.log(self.stage, step, "dev", scores)
        is_best = self.best is None or scores[main] > self.best[main]
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(f"{self.stage}  step {step}/{self.steps}  dev  {shown}{'  (best)' if is_best else ''}", flush=True)
        if is_best:
            self.best = scores
            self.run.save(self.network, "model", self.tokenizer_from)
