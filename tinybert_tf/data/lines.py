"""Text files, a line at a time."""

from collections.abc import Iterator
from pathlib import Path

from tinybert_tf.errors import InputError


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, counted from 1, each with its line end. A byte order mark is passed over.

    Only a line feed ends a line: texts hold every other character that some readers take for a line's end.

    Raises:
        InputError: no such file, or a line that is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); write the file as UTF-8"
                ) from None


def whole_characters(text: str, where: str) -> str:
    """`text`, which may be from JSON; raises InputError if it holds half of a character, which UTF-8 has no bytes for."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{where} holds half of a character (\\ud800 to \\udfff alone)")
    return text


def without_end(line: str) -> str:
    """A line without the line feed, or carriage return and line feed, that ends it."""
    return line.removesuffix("\n").removesuffix("\r")
