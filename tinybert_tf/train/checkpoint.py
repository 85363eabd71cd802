"""Checkpoints of a training stage: everything that the next step depends on, so that an interrupted run resumes exactly."""

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, read_json_object, write_json

logger = logging.getLogger(__name__)

_KEPT = 2  # the last one, and the one before it in case the last one cannot be read


@dataclasses.dataclass(frozen=True)
class StageCheckpoint:
    """A stage after `step` of its `steps` updates.

    Attributes:
        state: JSON values of the callbacks: best score so far, length of metrics.jsonl, ...
        arrays: the values of `training_variables`, in their order.
    """

    stage: str
    step: int
    steps: int
    state: dict[str, Any]
    arrays: list[np.ndarray]


class CheckpointFolder:
    """The last two checkpoints of a run, a folder each; older ones are removed.

    Args:
        directory: created with the first one.
        read_only: do not delete damaged checkpoints; the chief does.
    """

    def __init__(self, directory: str | Path, read_only: bool = False):
        self.directory, self.read_only = Path(directory), read_only

    def write(self, checkpoint: StageCheckpoint) -> Path:
        """Writes a checkpoint aside and renames it.

        Raises:
            InputError: it cannot be written; earlier ones remain.
        """
        earlier = self._folders()
        number = 1 + max((int(folder.name.split("_")[0]) for folder in earlier), default=0)
        folder = self.directory / f"{number:06d}_{checkpoint.stage}_{checkpoint.step}"
        tensors = {str(index): array for index, array in enumerate(checkpoint.arrays)}
        description = {key: value for key, value in vars(checkpoint).items() if key != "arrays"}
        for left in self.directory.glob(".*.partial"):  # by a process that was killed
            shutil.rmtree(left)
        with atomic_write(folder) as aside:
            aside.mkdir()
            safetensors.numpy.save_file(tensors, aside / "variables.safetensors")
            write_json(aside / "state.json", description | {"sha256": _sha256(aside / "variables.safetensors")})
        for old in earlier[: len(earlier) - _KEPT + 1]:
            shutil.rmtree(old)
        return folder

    def last(self) -> StageCheckpoint | None:
        """The newest undamaged checkpoint, or None. Damaged ones are logged and removed."""
        for folder in reversed(self._folders()):
            try:
                return _read(folder)
            except (InputError, OSError, KeyError, TypeError, safetensors.SafetensorError) as error:
                logger.warning("%s: damaged checkpoint (%s); the one before it is used", folder, error)
                if not self.read_only:
                    shutil.rmtree(folder, ignore_errors=True)
        return None

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(folder for folder in self.directory.glob("[0-9]*") if folder.is_dir())


def _read(folder: Path) -> StageCheckpoint:
    state = read_json_object(folder / "state.json")
    path = folder / "variables.safetensors"
    if _sha256(path) != state.pop("sha256"):
        raise InputError("variables.safetensors does not match its checksum")
    tensors = safetensors.numpy.load_file(path)
    return StageCheckpoint(**state, arrays=[tensors[str(index)] for index in range(len(tensors))])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def training_variables(model: keras.Model, frozen: keras.Model | None = None) -> list[keras.Variable]:
    """The variables that change while `model` trains: weights, dropout's random state, running means of metrics, the
    optimizer's slots and step; not the weights of `frozen`, the teacher.
    """
    model.optimizer.build(model.trainable_variables)
    left_out = {id(variable) for variable in frozen.variables} if frozen is not None else set()
    own = [variable for variable in model.variables if id(variable) not in left_out]
    return own + model.metrics_variables + model.optimizer.variables


def restore(variables: Sequence[keras.Variable], checkpoint: StageCheckpoint) -> None:
    """Sets `variables` to the values of the checkpoint.

    Raises:
        InputError: they are not the variables that the checkpoint was made from.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    saved = [array.shape for array in checkpoint.arrays]
    if shapes != saved:
        index = next((i for i, pair in enumerate(zip(shapes, saved, strict=False)) if pair[0] != pair[1]), -1)
        now, then = (shapes[index], saved[index]) if index >= 0 else (len(shapes), len(saved))
        raise InputError(
            f"the checkpoint of {checkpoint.stage}, step {checkpoint.step}, belongs to other networks: it has {then}, this run "
            f"{now}; name another `output_dir`"
        )
    for variable, array in zip(variables, checkpoint.arrays, strict=True):
        variable.assign(array)


class Interruption:
    """Whether SIGINT or SIGTERM was received."""

    received = False


@contextlib.contextmanager
def deferred_signals() -> Iterator[Interruption]:
    """The first SIGINT or SIGTERM is deferred until the current step has finished; a second one interrupts."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in its main thread only
        yield interruption
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def notice(number, frame):
        interruption.received = True
        for each in signals:
            signal.signal(each, before[each])

    for number in signals:
        signal.signal(number, notice)
    try:
        yield interruption
    finally:
        for number in signals:
            signal.signal(number, before[number])
