"""Steps of a pipeline: one whose output is complete and whose inputs are unchanged is skipped."""

import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from tinybert_tf.data.settings import DataSettings
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.distribution import DeviceSettings, best_strategy, make_strategy
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, remove, write_json
from tinybert_tf.settings import flat_fields, flat_values, replace
from tinybert_tf.train.inputs import without_output
from tinybert_tf.train.run import IGNORED_SETTINGS
from tinybert_tf.train.settings import FORMER_DEFAULTS

logger = logging.getLogger(__name__)


class Steps:
    """Runs the steps of one output directory and records the inputs of each under `steps/`.

    Args:
        directory: of the outputs of all steps.
        files: files and directories that every step reads, by name.
    """

    def __init__(self, directory: str | Path, files: Mapping[str, str | Path | None] | None = None):
        self.directory, self._files = Path(directory), dict(files or {})
        self._number = 0

    def run(
        self,
        name: str,
        make: Callable[[Path], Any],
        settings: Any,
        defaults: Mapping[str, Any] | None = None,
        **files: str | Path | None,
    ) -> Any:
        """The result of a step: that of an earlier run if nothing has changed since, else of `make(output)`.

        An interrupted step resumes from its partial output; one whose inputs have changed starts without output.

        Args:
            name: of the step, and of its output below `directory`.
            make: writes the output, a directory or a file at the path given to it, and returns a JSON value.
            settings: what the result depends on besides files; JSON values.
            defaults: values of settings that the record of an earlier version may lack.
            files: the files and directories that the step reads, by name.

        Raises:
            InputError: the output exists without a record, so that something else made it.
        """
        self._number += 1
        output, record = self.directory / name, self.directory / "steps" / f"{name}.json"
        files = self._files | files
        inputs = {
            "settings": settings,
            "files": {key: identity(path, self.directory) for key, path in files.items() if path},
        }
        kept = read_json_object(record) if record.is_file() else {}
        added = {key: inputs["files"][key] for key in self._files if key in inputs["files"]}
        before = kept if kept.get("inputs") == inputs else _with_defaults(kept, defaults or {}, added)
        head = f"[step {self._number}] {name}"
        if before.get("inputs") == inputs and "result" in before and before["output"] == identity(output):
            logger.info("%s: already done", head)
            if before != kept:
                write_json(record, before)
            return before["result"]
        if not record.is_file() and output.exists():
            raise InputError(f"{output}: exists, and no step made it; move it away, or give another `output_dir`")
        logger.info(head)
        if before.get("inputs") != inputs:
            remove(output)
            write_json(record, {"inputs": inputs})
        keras.backend.clear_session()  # frees the networks and graphs of the step before
        gc.collect()
        result = make(output)
        write_json(record, {"inputs": inputs, "output": identity(output), "result": result})
        return result

    def run_program(
        self, name: str, program: Callable[[Any], dict], settings: Any, **files: str | Path | None
    ) -> dict[str, Any]:
        """A step that is a call of a program, whose `output_dir` is the step's output. See `run`."""
        described = {key: value for key, value in flat_values(settings).items() if key not in IGNORED_SETTINGS}
        defaults = {key: field.default for key, field in flat_fields(type(settings)).items() if key in described}

        def make(output: Path) -> dict[str, Any]:
            return program(replace(settings, output_dir=str(output)))

        return self.run(name, make, described, defaults, **files)


def data_files(data: DataSettings, folder: str) -> dict[str, str | Path | None]:
    """The files of a task, as inputs of steps.

    Args:
        data: the settings that name them.
        folder: of the task in GLUE's layout.
    """
    files = {"unlabelled": data.custom.unlabelled_file}
    if data.task in CUSTOM_TASKS:
        return files | {"train": data.custom.train_file, "dev": data.custom.dev_file}
    if data.data_dir is None:
        return files
    own = Path(data.data_dir) / folder
    return files | {"data": own if own.is_dir() else data.data_dir}


def open_devices(devices: DeviceSettings) -> None:
    """Configures the devices before the first step uses any.

    Raises:
        InputError: a strategy of several workers, each of which would run every step.
    """
    name = best_strategy() if devices.strategy == "auto" else devices.strategy
    if name == "multi_worker":
        raise InputError(
            "a pipeline runs on one machine; run its programs one by one on all workers (bin/augment.py on one), or take "
            "`strategy=mirrored`",
            "strategy",
            devices.strategy,
        )
    make_strategy(name, devices.num_devices)


def _with_defaults(record: dict[str, Any], defaults: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a step with the settings and the files of all steps that were added since it was written."""
    inputs = record.get("inputs")
    if isinstance(inputs, dict) and isinstance(inputs.get("files"), dict):
        inputs = inputs | {"files": dict(files) | inputs["files"]}
        record = record | {"inputs": inputs}
    if not defaults or not isinstance(inputs, dict) or not isinstance(inputs.get("settings"), dict):
        return record
    settings = dict(defaults) | {name: value for name, value in inputs["settings"].items() if name in defaults}
    for name, former in FORMER_DEFAULTS.items():
        if name in settings and settings[name] == former:
            settings[name] = None
    return record | {"inputs": inputs | {"settings": settings}}


def identity(path: str | Path, output: Path | None = None) -> list[list]:
    """The state of a file or of a directory's files, to detect changes: [[name, bytes, modification time], ...].

    A run's model card is left out: a later step adds its measurements. So is what is in `output`, where that lies in `path`.
    """
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    files = without_output([file for file in files if file.parts[-2:] != ("model", "README.md")], path, output)
    return [
        [file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.exists()
    ]
