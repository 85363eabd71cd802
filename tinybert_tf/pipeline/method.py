"""A method of a comparison: a configuration file that says which program it is for and what the paper reports."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tinybert_tf.errors import InputError
from tinybert_tf.settings import read_yaml

_ABOUT = ("program", "paper", "augmented")


@dataclasses.dataclass(frozen=True)
class Method:
    """A configuration file: a program and its settings. Its entry `method` is for `bin/compare.py` alone.

    Attributes:
        name: of the file, without its ending.
        path: of the file.
        program: which one is run.
        values: its settings, by name.
        paper: the paper's number, or one for each task by name, on its own data; None where it has none.
        is_augmented: whether it takes the comparison's augmented training sets.
    """

    name: str
    path: Path
    program: str
    values: dict[str, Any]
    paper: float | Mapping[str, float] | None = None
    is_augmented: bool = True

    @classmethod
    def read(cls, path: Path, programs: Mapping[str, type]) -> "Method":
        """Reads a file.

        Args:
            path: of the file.
            programs: by name, the settings class of each; the first is the default.

        Raises:
            InputError: no such file, an unknown program, entry of `method` or setting, or a value of another type.
        """
        if not path.is_file():
            raise InputError("no such file", "configs", path)
        text = path.read_bytes()
        about = _about(path, text)
        if unknown := sorted(set(about) - set(_ABOUT)):
            raise InputError(f"{path}: method has no entry {unknown[0]!r}; it takes {', '.join(_ABOUT)}")
        _check_paper(path, about.get("paper"))
        program = about.get("program", next(iter(programs)))
        if program not in programs:
            raise InputError(f"{path}: program is {program!r}, but must be {' or '.join(programs)}")
        values = read_yaml(programs[program], str(path), text)
        values = {name: value for name, value in values.items() if value is not None}
        return cls(path.stem, path, program, values, about.get("paper"), about.get("augmented", True))

    @property
    def stages(self) -> int:
        """How many stages share the steps of a run."""
        return 2 if self.program == "distill_task" and self.values.get("stage", "both") == "both" else 1

    def paper_number(self, task: str) -> float | None:
        """The paper's number beside a task's row."""
        return self.paper.get(task) if isinstance(self.paper, Mapping) else self.paper


def _check_paper(path: Path, paper: Any) -> None:
    for number in paper.values() if isinstance(paper, dict) else [paper]:
        if number is not None and type(number) not in (int, float):
            raise InputError(f"{path}: paper is {number!r}, but must be a number, or one for each task by name")


def _about(path: Path, text: bytes) -> dict[str, Any]:
    """The entry `method` of a file."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    about = values.get("method") if isinstance(values, dict) else None
    if about is not None and not isinstance(about, dict):
        raise InputError(f"{path}: method is {about!r}, but must be entries as name: value")
    return about or {}
