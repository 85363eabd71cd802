"""The errors that programs show as a single line."""

_LONGEST = 1000  # characters


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a row, a flag, a shape.

    The message is one line that says what is wrong, where (file, row, flag or tensor), both sides of a mismatch, and what
    to do about it. Programs print it without a traceback and exit with code 1.

    It may repeat what stands in a file: there, characters that end a line or steer a terminal are written as escapes, and
    what is very long is shortened in the middle.
    """

    def __init__(self, message: str):
        printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _shortened(message))
        super().__init__(_shortened(printable))


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


class LostWorkerError(RuntimeError):
    """Another worker has ended or cannot be reached; this one cannot go on without it."""
