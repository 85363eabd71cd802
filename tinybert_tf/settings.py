"""How the settings of programs are declared."""

import dataclasses
from typing import Any

from tinybert_tf.errors import InputError


def setting(default: Any, help: str, *, required: bool = False) -> Any:
    """A dataclass field with the line that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help, "required": required})


def whole_numbers(flag: str, text: str) -> list[int]:
    """The value of a flag that takes several numbers: "1,2" -> [1, 2].

    Raises:
        InputError: something else stands there, or a number below 1.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise InputError(f"{flag}={text}: must be whole numbers from 1 on, with commas between them")
    return numbers
