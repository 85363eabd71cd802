"""Steps of a pipeline: one whose output is complete and whose inputs are unchanged is skipped."""

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tinybert_tf.distribution import best_strategy, make_strategy
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, remove, write_json


class Steps:
    """Runs the steps of one output directory and remembers under `steps/` what each was made from.

    Args:
        directory: where the outputs of all steps lie.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self._number = 0

    def run(self, name: str, make: Callable[[Path], Any], settings: Any, **files: str | Path | None) -> Any:
        """The result of a step: that of an earlier run where nothing has changed since, else of `make(output)`.

        A step that was interrupted finds its output directory as it left it, so that it can resume; one whose inputs
        have changed finds none.

        Args:
            name: of the step, and of its output below `directory`.
            make: fills the output, a directory or a file at the path it is given, and returns a JSON value.
            settings: whatever the result depends on besides files; JSON values.
            files: the files and directories that the step reads, by name.
        """
        self._number += 1
        output, record = self.directory / name, self.directory / "steps" / f"{name}.json"
        inputs = {"settings": settings, "files": {key: _identity(path) for key, path in files.items() if path}}
        before = read_json_object(record) if record.is_file() else {}
        head = f"[step {self._number}] {name}"
        if before.get("inputs") == inputs and "result" in before and before["output"] == _identity(output):
            print(f"{head}: done already", flush=True)
            return before["result"]
        print(head, flush=True)
        if before.get("inputs") != inputs:
            remove(output)
            write_json(record, {"inputs": inputs})
        keras.backend.clear_session()  # lets go of the networks and graphs of the step before
        gc.collect()
        result = make(output)
        write_json(record, {"inputs": inputs, "output": _identity(output), "result": result})
        return result

    def run_program(
        self, name: str, program: Callable[[Any], dict], settings: Any, **files: str | Path | None
    ) -> dict[str, Any]:
        """A step that is a call of a program, whose `--output_dir` is the step's output. See `run`."""
        described = {key: value for key, value in dataclasses.asdict(settings).items() if key != "output_dir"}
        make = lambda output: program(dataclasses.replace(settings, output_dir=str(output)))
        return self.run(name, make, described, **files)


def open_devices(settings: Any) -> None:
    """Lays out the devices of `settings.strategy` before the first step uses any.

    Raises:
        InputError: a strategy of several workers, each of whom would run the steps that one machine runs.
    """
    name = best_strategy() if settings.strategy == "auto" else settings.strategy
    if name == "multi_worker":
        raise InputError(
            f"--strategy={settings.strategy}: a pipeline runs on one machine; run its programs one by one on all workers "
            "(bin/augment.py on one), or take --strategy=mirrored"
        )
    make_strategy(name, settings.num_devices)


def _identity(path: str | Path) -> list[list]:
    """What tells that a file, or any file in a directory, has changed: [[name, bytes, time of change], ...]."""
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [
        [file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.exists()
    ]
