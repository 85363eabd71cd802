"""The errors that programs show as a single line."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a row, a flag, a shape.

    The message is one line that says what is wrong, where (file, row, flag or tensor), both sides of a mismatch, and what
    to do about it. Programs print it without a traceback and exit with code 1.
    """


class LostWorkerError(RuntimeError):
    """Another worker has ended or cannot be reached; this one cannot go on without it."""
