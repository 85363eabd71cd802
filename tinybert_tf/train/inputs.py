"""The files that a run reads, so that nothing goes on with others than it began with."""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinybert_tf.data import TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.settings import flat_values

# {setting: {file: [bytes, checksum]}}
InputStates = dict[str, dict[str, list]]

_FILES = ("train_file", "dev_file", "unlabelled_file", "teacher_logits", "vocab")
_DATA_FOLDERS = ("data_dir", "augmented_data_dir")
_MODELS = ("model", "teacher", "student", "init")
# Of larger files the size alone is noted.
_LARGEST = 4 << 30


def input_states(settings: Any) -> InputStates:
    """Size and checksum of every file that a program's settings name: data, model directories, a corpus.

    Args:
        settings: of the program. What is no local file or directory, such as a size or a TensorFlow Dataset, is left out, and so
            are the shards of a corpus: its manifest.json changes with them.

    Returns:
        for each setting its files, by their name and that of their directory: [bytes, first 16 letters of the SHA-256].
    """
    values = {name: value for name, value in flat_values(settings).items() if isinstance(value, str)}
    files_of = functools.partial(_files, output=Path(values["output_dir"]) if values.get("output_dir") else None)
    found = {name: _states([Path(values[name])]) for name in _FILES if name in values}
    for name in _DATA_FOLDERS:
        if name in values:
            found[name] = _states(files_of(_task_folder(Path(values[name]), values["task"])))
    for name in _MODELS:
        if name in values:
            found[name] = _states(file for directory in _models(values[name]) for file in files_of(directory))
    if "corpus" in values:
        found["corpus"] = _states(file for file in files_of(Path(values["corpus"])) if file.suffix != ".gz")
    return {name: states for name, states in found.items() if states}


def check_inputs_of(earlier: InputStates, now: InputStates, directory: Path) -> None:
    """Raises InputError where a file has changed since a run began.

    Args:
        earlier: what the run noted, nothing for a run of an earlier version.
        now: the same for the settings now.
        directory: of the run.
    """
    for name in earlier.keys() & now.keys():
        for file in sorted(earlier[name].keys() | now[name].keys()):
            then, found = (states[name].get(file) for states in (earlier, now))
            if then == found:
                continue
            sizes = ["no such file" if state is None else f"{state[0]} bytes" for state in (then, found)]
            is_same_size = sizes[0] == sizes[1]
            change = "other contents" if is_same_size else f"{sizes[0]} then, {sizes[1]} now"
            raise InputError(
                f"holds a run whose `{name}` has changed since it began ({file}: {change}); name another directory, or delete "
                "this one",
                "output_dir",
                directory,
            )


def _task_folder(folder: Path, task: str) -> Path:
    own = folder / TASKS[task].folder if task in TASKS else folder
    return own if own.is_dir() else folder


def _models(names: str) -> list[Path]:
    """The directories of one model, or of several with commas between them; none of a size or a preset."""
    several = [names] if Path(names).is_dir() else names.split(",")
    return [Path(name.strip()) for name in several if name.strip()]


def _files(directory: Path, output: Path | None) -> list[Path]:
    """The files of a directory and of those in it, without model cards, to which later steps add; none if it is missing."""
    files = [*directory.glob("*"), *directory.glob("*/*")]
    return without_output([file for file in files if file.is_file() and file.name != "README.md"], directory, output)


def without_output(files: list[Path], directory: Path, output: Path | None) -> list[Path]:
    """The files of a directory but those that a run itself writes, where its output lies in that directory."""
    if output is None or directory.resolve() not in output.resolve().parents:
        return files
    return [file for file in files if not file.resolve().is_relative_to(output.resolve())]


def _states(files: Iterable[Path]) -> dict[str, list]:
    return {f"{file.parent.name}/{file.name}": _state(file) for file in files if file.is_file()}


def _state(file: Path) -> list:
    size = file.stat().st_size
    if size > _LARGEST:
        return [size, None]
    with file.open("rb") as opened:
        return [size, hashlib.file_digest(opened, "sha256").hexdigest()[:16]]
