"""Text files, a line at a time."""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path

from tinybert_tf.errors import InputError


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, counted from 1, each with its line end. A byte order mark is skipped.

    Only a line feed ends a line: texts contain all other characters that some readers treat as line ends. In a file without
    any line feed (of an old Macintosh), carriage returns end the lines.

    Raises:
        InputError: no such file, or a line that is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                is_wide = number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff")
                reason = "UTF-16" if is_wide else f"{error.reason} at byte {error.start}"
                raise InputError(f"{path}, line {number}: not UTF-8 ({reason}); write the file as UTF-8") from None


def _lines(file) -> Iterator[bytes]:
    first = file.readline()
    if b"\r" in first and not first.endswith(b"\n"):
        yield from first.removesuffix(b"\r").replace(b"\r", b"\n").splitlines(keepends=True)
    elif first:
        yield first
        yield from file


def whole_characters(text: str, where: str) -> str:
    """`text`, which may be from JSON; raises InputError for a lone surrogate, which UTF-8 cannot encode."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{where} holds half of a character (\\ud800 to \\udfff alone)")
    return text


@functools.lru_cache(maxsize=64)
def log_once(logger: logging.Logger, level: int, message: str, *values) -> None:
    """Logs what was found in a file. A file is read in every pass over its rows; what is the same in all is logged once."""
    logger.log(level, message, *values)


def without_end(line: str) -> str:
    """A line without the line feed, or carriage return and line feed, that ends it."""
    return line.removesuffix("\n").removesuffix("\r")
