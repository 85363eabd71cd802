"""What a training program leaves behind: settings, measurements, models."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.huggingface import save_model
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json, write_json
from tinybert_tf.train.checkpoint import Checkpoint, CheckpointFolder

_PACKAGES = ("tinybert_tf", "tensorflow", "keras", "tensorflow-text", "numpy")


class Run:
    """A run directory: `run.json`, `metrics.jsonl`, TensorBoard events, checkpoints and models.

    A directory that holds a run of the same settings is gone on with: `resumed` is its last checkpoint.

    Args:
        directory: made if it does not exist.
        settings: the dataclass that the run was started with; written to `run.json` with versions and command line.

    Raises:
        InputError: the directory holds a run with other settings.
    """

    def __init__(self, directory: str | Path, settings: Any):
        self.directory = Path(directory)
        earlier = _earlier_run(self.directory, settings)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.checkpoints = CheckpointFolder(self.directory / "checkpoints")
        self.resumed: Checkpoint | None = self.checkpoints.last() if earlier else None
        self.metrics_file = self.directory / "metrics.jsonl"
        self._cut_metrics()
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

    @property
    def metrics_bytes(self) -> int:
        """The length of metrics.jsonl."""
        return self.metrics_file.stat().st_size

    def _cut_metrics(self) -> None:
        """Takes away the rows that came after the checkpoint: the steps that they tell of are done once more."""
        self.metrics_file.touch()
        kept = self.resumed.state["metrics_bytes"] if self.resumed else 0
        os.truncate(self.metrics_file, min(kept, self.metrics_bytes))

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

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Adds the result to run.json and returns it. The checkpoints have done their service."""
        self._events.close()
        write_json(self.directory / "run.json", self.description | {"result": result})
        self.checkpoints.remove()
        return result


def finished_result(settings: Any) -> dict[str, Any] | None:
    """The result of a run with these settings that is finished, or None.

    Raises:
        InputError: `settings.output_dir` holds a run with other settings.
    """
    result = _earlier_run(Path(settings.output_dir), settings).get("result")
    if result:
        print(f"{settings.output_dir}: this run is finished; for another one name another --output_dir", flush=True)
    return result


# Where and how often a run is written does not change what is.
_NO_MATTER = {"output_dir", "save_every_seconds"}


def _earlier_run(directory: Path, settings: Any) -> dict[str, Any]:
    """What run.json says, or nothing where there is none; refused if its settings are others."""
    path = directory / "run.json"
    if not path.is_file():
        return {}
    earlier, now = read_json(path), json.loads(json.dumps(dataclasses.asdict(settings)))
    then = earlier.get("settings", {})
    for name in (then | now).keys() - _NO_MATTER:
        if then.get(name) != now.get(name):
            raise InputError(
                f"{directory}: holds a run with --{name}={then.get(name)}, this one has {now.get(name)}; give the same "
                "settings to go on with that run, name another --output_dir, or delete that directory"
            )
    return earlier


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
