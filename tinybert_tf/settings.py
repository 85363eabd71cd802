"""How the settings of programs are declared."""

import dataclasses
from typing import Any


def setting(default: Any, help: str, *, required: bool = False) -> Any:
    """A dataclass field with the line that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help, "required": required})
