"""What a training program leaves behind: settings, measurements, models."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.huggingface import save_model
from tinybert_tf.distribution import is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, write_json, writing, written_aside
from tinybert_tf.train.checkpoint import Checkpoint, CheckpointFolder

_PACKAGES = ("tinybert_tf", "tensorflow", "keras", "tensorflow-text", "numpy")


def _by_the_chief(method: Callable[..., None]) -> Callable[..., None]:
    """A method of `Run` that writes: of several workers the chief alone does it, and says where a disk is full."""

    @functools.wraps(method)
    def of_this_worker(run: "Run", *arguments, **options) -> None:
        if run.is_chief:
            with writing(run.directory):
                method(run, *arguments, **options)

    return of_this_worker


class Run:
    """A run directory: `run.json`, `metrics.jsonl`, TensorBoard events, checkpoints and models.

    A directory that holds a run of the same settings is gone on with: `resumed` is its last checkpoint. Of several workers
    all read it, and only the chief writes.

    Args:
        directory: made if it does not exist.
        settings: the dataclass that the run was started with; written to `run.json` with versions and command line.
        resolved: what those settings amount to on this machine; a resumed run keeps it, see `recorded`.

    Raises:
        InputError: the directory holds a run with other settings.
    """

    def __init__(self, directory: str | Path, settings: Any, resolved: dict[str, Any] | None = None):
        self.directory = Path(directory)
        self.is_chief = is_chief()
        earlier = _earlier_run(self.directory, settings)
        self.checkpoints = CheckpointFolder(self.directory / "checkpoints", read_only=not self.is_chief)
        self.resumed: Checkpoint | None = self.checkpoints.last() if earlier else None
        self.metrics_file = self.directory / "metrics.jsonl"
        self.description = {
            "settings": dataclasses.asdict(settings),
            "resolved": resolved or {},
            "seed": settings.seed,
            "command": sys.argv,
            "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        }
        self._begin()

    @_by_the_chief
    def _begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._cut_metrics()
        self._events = tf.summary.create_file_writer(str(self.directory / "events"))
        write_json(self.directory / "run.json", self.description)

    @property
    def model_dir(self) -> Path:
        """The best model on dev: what the run is for."""
        return self.directory / "model"

    def _cut_metrics(self) -> None:
        """Takes away the rows that came after the checkpoint: the steps that they tell of are done once more."""
        self.metrics_file.touch()
        kept = self.resumed.state["metrics_bytes"] if self.resumed else 0
        os.truncate(self.metrics_file, min(kept, self.metrics_file.stat().st_size))

    @_by_the_chief
    def log(self, stage: str, step: int, split: str, values: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl and the same numbers to TensorBoard."""
        values = {name: float(value) for name, value in values.items()}
        line = {"stage": stage, "step": step, "split": split} | values
        written = self.metrics_file.stat().st_size
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            os.truncate(self.metrics_file, written)  # no half line
            raise
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{stage}/{split}/{name}", value)

    @_by_the_chief
    def save(
        self, model: BertModel, name: str, tokenizer_from: str | Path, also: Callable[[Path], None] | None = None
    ) -> None:
        """Writes a model directory; `also` adds to it what is no model's."""
        save_model(model, self.directory / name, tokenizer_from=tokenizer_from)
        if also is not None:
            also(self.directory / name)

    @_by_the_chief
    def write_checkpoint(
        self, stage: str, step: int, steps: int, state: dict[str, Any], arrays: Sequence[np.ndarray]
    ) -> None:
        """See `Checkpoint`; adds the length of metrics.jsonl to its state."""
        state = state | {"metrics_bytes": self.metrics_file.stat().st_size}
        self.checkpoints.write(Checkpoint(stage, step, steps, state, list(arrays)))

    @_by_the_chief
    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Writes arrays as a `.npz` file."""
        with written_aside(self.directory / name) as aside, aside.open("wb") as file:
            np.savez(file, **arrays)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Adds the result to run.json and returns it. The checkpoints have done their service."""
        self._end(result)
        return result

    @_by_the_chief
    def _end(self, result: dict[str, Any]) -> None:
        self._events.close()
        write_json(self.directory / "run.json", self.description | {"result": result})
        self.checkpoints.remove()


def finished_result(settings: Any) -> dict[str, Any] | None:
    """The result of a run with these settings that is finished, or None.

    Raises:
        InputError: `settings.output_dir` holds a run with other settings.
    """
    directory = Path(settings.output_dir)
    result = _earlier_run(directory, settings).get("result")
    if result:
        CheckpointFolder(directory / "checkpoints").remove()  # left where a run was killed at its very end
        print(f"{settings.output_dir}: this run is finished; for another one name another --output_dir", flush=True)
    return result


def recorded(settings: Any) -> dict[str, Any]:
    """What the run that `settings` resume recorded as resolved on its machine, such as dtypes; empty for a new run."""
    return _earlier_run(Path(settings.output_dir), settings).get("resolved", {})


# Where and how often a run is written does not change what is.
_NO_MATTER = {"output_dir", "save_every_seconds"}


def _earlier_run(directory: Path, settings: Any) -> dict[str, Any]:
    """What run.json says, or nothing where there is none; refused if its settings are others.

    A run that left neither a checkpoint nor a model is as good as none.
    """
    path = directory / "run.json"
    if not path.is_file() or not any((directory / name).exists() for name in ("checkpoints", "intermediate", "model")):
        return {}
    earlier, now = read_json_object(path), json.loads(json.dumps(dataclasses.asdict(settings)))
    # A run of an earlier version lacks the settings that were added since: it ran with what are now their defaults.
    then = _defaults(type(settings)) | earlier.get("settings", {})
    for name in now.keys() - _NO_MATTER:
        if then.get(name) != now.get(name):
            raise InputError(
                f"{directory}: holds a run with --{name}={then.get(name)}, this one has {now.get(name)}; give the same "
                "settings to go on with that run, name another --output_dir, or delete that directory"
            )
    return earlier


def _defaults(settings_class: type) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(settings_class)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
