"""The errors that programs show as a single line."""

import re
from collections.abc import Collection
from typing import Any

_LONGEST = 1000  # characters


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a row, a parameter, a shape.

    The message is one line that says what is wrong, where (file, row, parameter or tensor), both sides of a mismatch, and
    what to do about it. Programs print it without a traceback and exit with code 1.

    Text quoted from files has control characters escaped and is truncated in the middle.

    >>> error = InputError("the model has 32 positions; take a smaller one", parameter="seq_len", value=64)
    >>> str(error)
    'seq_len=64: the model has 32 positions; take a smaller one'
    >>> error.as_flags({"seq_len"})
    '--seq_len=64: the model has 32 positions; take a smaller one'

    Args:
        message: one line in the words of Python. Parameters that it mentions are in backticks: "take a larger
            `vocab_size`".
        parameter: the argument or setting that is wrong; the message then begins with its name.
        value: of the parameter; without one the message continues the name: "is missing".
    """

    def __init__(self, message: str, parameter: str | None = None, value: Any = None):
        if parameter is not None:
            message = f"{parameter} {message}" if value is None else f"{parameter}={value}: {message}"
        printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _shortened(message))
        super().__init__(_shortened(printable))
        self.parameter = parameter

    def as_flags(self, flags: Collection[str]) -> str:
        """The message with dashes before the parameters that are flags of a program.

        Args:
            flags: names of the program's flags.
        """
        text = re.sub(r"`(\w+)(=[^`]*)?`", lambda m: f"--{m[1]}{m[2] or ''}" if m[1] in flags else m[0], str(self))
        return f"--{text}" if self.parameter in flags else text


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


class LostWorkerError(RuntimeError):
    """Another worker has ended or cannot be reached; this one cannot continue without it."""
