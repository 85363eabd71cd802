"""A run directory: settings, measurements, checkpoints and models."""

import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.huggingface import check_replaceable, save_model
from tinybert_tf.distribution import is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, read_json_object, remove, write_json, writing
from tinybert_tf.settings import flat_fields, flat_values
from tinybert_tf.train.checkpoint import CheckpointFolder, StageCheckpoint
from tinybert_tf.train.inputs import check_inputs_of, input_states
from tinybert_tf.train.plan import StagePlan
from tinybert_tf.train.settings import FORMER_DEFAULTS
from tinybert_tf.versions import version
from tinybert_tf.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_PACKAGES = ("tinybert_tf", "tensorflow", "keras", "tensorflow-text", "numpy")
# Settings that do not change what is trained.
IGNORED_SETTINGS = {
    "output_dir",
    "save_every_seconds",
    "dry_run",
    "cache_dir",
    "teacher_cache",
    "allow_weak_teacher",
}


class Run:
    """A run directory: `run.json`, `metrics.jsonl`, TensorBoard events, checkpoints and models.

    If `settings.run.output_dir` holds a run with the same settings, it is resumed: `resumed` is its last checkpoint. Of
    several workers all read the directory, and only the chief writes. A dry run writes nothing and collects `plan`.

    Args:
        settings: of the program, with a group `run`; written to `run.json` with versions and command line.
        resolved: what those settings resolve to on this machine; a resumed run keeps it, see `recorded`.

    Raises:
        InputError: the directory holds a run with other settings.
    """

    def __init__(self, settings: Any, resolved: dict[str, Any]):
        self.directory = Path(settings.run.output_dir)
        self.plan: list[StagePlan] | None = [] if settings.run.dry_run else None
        self.writes = is_chief() and self.plan is None
        self.checkpoints = CheckpointFolder(self.directory / "checkpoints", read_only=not self.writes)
        self.resumed: StageCheckpoint | None = self.checkpoints.last() if _earlier_run(settings) else None
        self.metrics_file = self.directory / "metrics.jsonl"
        self.description = {
            "settings": flat_values(settings),
            "resolved": resolved,
            **({"reading": "shards"} if reads_shards(settings) else {}),
            "seed": settings.run.seed,
            "command": sys.argv,
            "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        }
        if not self.writes:
            return
        self.description["inputs"] = input_states(settings)
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._cut_metrics()
            self._events = tf.summary.create_file_writer(str(self.directory / "events"))
            write_json(self.directory / "run.json", self.description)

    @property
    def model_dir(self) -> Path:
        """The best model on dev: the outcome of the run."""
        return self.directory / "model"

    def steps_done(self, stage: str) -> int:
        """Steps of a stage that the checkpoint has which the run resumes from; 0 for a stage that begins."""
        return self.resumed.step if self.resumed is not None and self.resumed.stage == stage else 0

    def _cut_metrics(self) -> None:
        """Removes the rows after the checkpoint, whose steps are repeated."""
        self.metrics_file.touch()
        kept = self.resumed.state["metrics_bytes"] if self.resumed else 0
        os.truncate(self.metrics_file, min(kept, self.metrics_file.stat().st_size))

    def log(self, stage: str, step: int, split: str, values: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl and the same numbers to TensorBoard."""
        if not self.writes:
            return
        values = {name: float(value) for name, value in values.items()}
        line = {"stage": stage, "step": step, "split": split} | values
        with writing(self.directory):
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

    def log_images(self, stage: str, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Shows images `[height, width, channels]` of values from 0 to 1 in TensorBoard, by name."""
        if not self.writes:
            return
        with writing(self.directory), self._events.as_default(step=step):
            for name, image in images.items():
                tf.summary.image(f"{stage}/{name}", image[None])

    def save(
        self,
        model: BertModel,
        name: str,
        tokenizer_from: str | Path | Vocabulary,
        also: Callable[[Path], None] | None = None,
    ) -> None:
        """Writes a model directory; `also(directory)` may write extra files into it."""
        if not self.writes:
            return
        directory = (self.directory / name).resolve()
        check_replaceable(directory)
        with writing(self.directory), atomic_write(directory) as aside:
            save_model(model, aside, tokenizer_from=tokenizer_from)
            if also is not None:
                also(aside)

    def write_checkpoint(
        self, stage: str, step: int, steps: int, state: dict[str, Any], arrays: Sequence[np.ndarray]
    ) -> None:
        """See `StageCheckpoint`; adds the length of metrics.jsonl to its state."""
        if not self.writes:
            return
        with writing(self.directory):
            state = state | {"metrics_bytes": self.metrics_file.stat().st_size}
            self.checkpoints.write(StageCheckpoint(stage, step, steps, state, list(arrays)))

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Writes arrays as a `.npz` file."""
        if not self.writes:
            return
        with writing(self.directory), atomic_write(self.directory / name) as aside, aside.open("wb") as file:
            np.savez(file, **arrays)

    def resolve(self, values: dict[str, Any]) -> None:
        """Adds to what the settings amount to, in run.json."""
        self.description["resolved"] |= values
        if self.writes:
            with writing(self.directory):
                write_json(self.directory / "run.json", self.description)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Adds the result to run.json, removes the checkpoints, and returns the result."""
        if self.writes:
            with writing(self.directory):
                self._events.close()
                write_json(self.directory / "run.json", self.description | {"result": result})
                self.checkpoints.remove()
                remove(self.directory / "cache")
        return result


def finished_result(settings: Any) -> dict[str, Any] | None:
    """The result of a run with these settings that is finished, or None.

    Raises:
        InputError: `settings.run.output_dir` holds a run with other settings or one that read other files, finished or not; or a
            finished one whose model is gone.
    """
    earlier, directory = _earlier_run(settings), Path(settings.run.output_dir)
    if not earlier or settings.run.dry_run:
        return None
    check_inputs_of(earlier.get("inputs", {}), input_states(settings), directory)
    if not (result := earlier.get("result")):
        return None
    if "model" in result:  # where it is now: the directory may have been moved
        model = directory / Path(result["model"]).name
        if not (model / "config.json").is_file():
            raise InputError(
                f"holds a finished run without its {model.name}/; delete it to train again", "output_dir", directory
            )
        result |= {"model": str(model)}
    for name in ("checkpoints", "cache"):  # both remain where a run was killed at its very end
        remove(directory / name)
    logger.info("%s: this run is finished; for another run name another directory", directory)
    return result


def recorded(settings: Any) -> dict[str, Any]:
    """Values that the resumed run recorded as resolved on its machine, such as dtypes; empty for a new run."""
    return _earlier_run(settings).get("resolved", {})


def reads_shards(settings: Any) -> bool:
    """Whether a run reads tokenized examples from shards; runs that an earlier version started do not."""
    earlier = _earlier_run(settings)
    return not earlier or "reading" in earlier


def _earlier_run(settings: Any) -> dict[str, Any]:
    """The run.json of `settings.run.output_dir`, or an empty dict without one; refused if its settings differ.

    A run that left neither a checkpoint nor a model is ignored.
    """
    directory = Path(settings.run.output_dir)
    path = directory / "run.json"
    if not path.is_file() or not any((directory / name).exists() for name in ("checkpoints", "intermediate", "model")):
        return {}
    earlier, now = read_json_object(path), json.loads(json.dumps(flat_values(settings)))
    # A run of an earlier version lacks the settings that were added since: it ran with what are now their defaults.
    then = {name: field.default for name, field in flat_fields(type(settings)).items()} | earlier.get("settings", {})
    for name in now.keys() - IGNORED_SETTINGS:
        if _same(name, then[name], now[name]):
            continue
        raise InputError(
            f"holds a run with `{name}={then[name]}`, this one has {now[name]}; give the same settings to resume that run, "
            "name another directory, or delete this one",
            "output_dir",
            directory,
        )
    return earlier


def _same(name: str, then: Any, now: Any) -> bool:
    return then == now or (now is None and name in FORMER_DEFAULTS and then == FORMER_DEFAULTS[name])
