"""Records of the user's own files: CSV, TSV, JSONL and plain lines."""

import csv
import io
import itertools
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinybert_tf.data.lines import log_once, numbered_lines, without_end
from tinybert_tf.errors import InputError
from tinybert_tf.files import parse_json_object

QUOTINGS = ("auto", "csv", "none")
# Possible column separators by file extension, the most likely first.
_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t;,|"}
_LONGEST_FIELD = 2**31 - 1  # characters; Python's own limit is 131,072, and a text may be longer
_FIELD_LIMIT = threading.Lock()
_QUOTED = re.compile(r'"[^"]*"')
_NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?')  # a first line that Excel reads

logger = logging.getLogger(__name__)


def read_records(
    path: Path, quoting: str = "auto", bad: list[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line that the record begins at, column -> value) for each record of a .csv, .tsv or .jsonl file.

    CSV and TSV as spreadsheets write them: a header, and a field that holds a separator, a quote or a line break is enclosed
    in quotes, its own quotes doubled. Blank lines are ignored. Columns separated by another character than the extension
    says (";" in a .csv) are recognized by the header, or by a first line such as "sep=;".

    Args:
        path: the file.
        quoting: "auto" refuses a quoted field that contains whole rows, since its quotes are probably characters of two
            texts; "csv" reads it as one field; "none" reads every quote as a character, and every line as a row.
        bad: takes the errors of malformed records, which are then skipped. Others are raised all the same: those of the
            whole file, and of quotes that may enclose several rows.

    Raises:
        InputError: an unknown extension, or a malformed file, with its line.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        return _json_records(path, bad)
    if kind in _SEPARATORS:
        return _table_records(path, _SEPARATORS[kind], quoting, bad)
    raise InputError(f"{path}: unknown extension; use .csv, .tsv or .jsonl")


def written_records(path: Path, quoting: str, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Records in the format of a file that `read_records` reads, its header first.

    Args:
        path: the file, whose extension, columns and separator are taken.
        quoting: as for `read_records`.
        lines: records, each as a line of JSON.
    """
    if path.suffix.lower() == ".jsonl":
        yield from lines
        return
    header, separator = writable_header(path, quoting)
    first = next(line for _, line in numbered_lines(path) if line.strip("\r\n"))
    if _NAMED_SEPARATOR.fullmatch(first):
        yield f"sep={separator}\n".encode()
    rows = itertools.chain([header], ([json.loads(line)[name] for name in header] for line in lines))
    for fields in rows:
        text = io.StringIO()
        if quoting == "none":  # then a separator in a text could not be written; augmentation makes none
            text.write(separator.join(field.replace(separator, " ") for field in fields))
        else:  # a field is quoted for any character of the line end, and must be for a carriage return alone
            csv.writer(text, delimiter=separator, lineterminator="\r\n", quoting=_quotes(fields, header)).writerow(
                fields
            )
        yield (text.getvalue().removesuffix("\r\n") + "\n").encode()


def writable_header(path: Path, quoting: str) -> tuple[list[str], str]:
    """(header, separator) of a .csv or .tsv file that `written_records` can write again.

    Raises:
        InputError: two columns have no name, so that a record holds one of them alone.
    """
    _, header, _, separator = next(_rows(path, _SEPARATORS[path.suffix.lower()], quoting))
    if header.count("") > 1:
        raise InputError(f"{path}: {header.count('')} columns have no name, so they cannot be written again; name them")
    return header, separator


def _quotes(fields: list[str], header: list[str]) -> int:
    """Which fields of a row are quoted so that it is read again as it is: all where a line of it might look like a row, or where
    a character of the header might be taken for the separator.
    """
    misleading = "".join(_SEPARATORS[".csv"]) if fields is header else "\n"
    return (
        csv.QUOTE_ALL if any(character in field for field in fields for character in misleading) else csv.QUOTE_MINIMAL
    )


def _table_records(
    path: Path, separators: str, quoting: str, bad: list[str] | None
) -> Iterator[tuple[int, dict[str, str]]]:
    rows = _rows(path, separators, quoting, bad)
    _, header, _, _ = next(rows, (0, None, None, None))
    if header is None:
        raise InputError(f"{path}: the file is empty")
    name, count = Counter(filter(None, header)).most_common(1)[0] if any(header) else ("", 0)
    if count > 1:
        raise InputError(f"{path}: two columns named {name!r}; the header has {', '.join(header)}")
    for begin, fields, lines, separator in rows:
        if len(fields) == 1 < len(header) and not fields[0].strip():
            continue  # a line of spaces
        if len(fields) != len(header):
            remedy = "enclose a field with a separator in quotes"
            if len(fields) < len(header):
                remedy = "write every column, also those that are empty"
            elif quoting == "none":
                remedy = "remove the separator from the text"
            error = f"{path}, line {begin}: {len(fields)} columns, but the header has {len(header)}; {remedy}"
            _skip(bad, error, lines, is_one=len(lines) == 1 or quoting == "csv")
            continue
        if len(lines) > 1 and quoting == "auto" and _swallows_rows(lines, separator, len(header)):
            raise InputError(
                f"{path}, lines {begin} and {begin + len(lines) - 1}: a quote at the beginning of one text and at the end of "
                f"another make one field of {len(lines)} lines, each of which looks like a row; take `quoting=none` if quotes "
                "are characters like any other, `quoting=csv` if this is one text"
            )
        yield begin, dict(zip(header, fields, strict=True))


def _rows(
    path: Path, separators: str, quoting: str, bad: list[str] | None = None
) -> Iterator[tuple[int, list[str], list[str], str]]:
    """(first line, fields, lines, separator) of each row that is not blank, the header first."""
    lines: list[str] = []
    skipped = None  # `bad`, once the header is read

    def read() -> Iterator[str]:
        for _, line in numbered_lines(path):
            lines.append(line)
            yield line

    source = read()
    lines_with_text = (line for line in source if line.strip("\r\n"))
    first = next(lines_with_text, None)
    named = _NAMED_SEPARATOR.fullmatch(first or "")
    if named:
        first = next(lines_with_text, None)
    if first is None:
        return
    separator = named[1] if named else _separator(path, first, separators)
    style = {"quoting": csv.QUOTE_NONE} if quoting == "none" else {}
    begin = len(lines)
    del lines[:-1]
    reader = csv.reader(itertools.chain([first], source), delimiter=separator, strict=True, **style)
    while True:
        try:
            fields = _next_row(reader)
        except csv.Error as error:
            reason = (
                f"{error}; enclose a field that holds a quote in quotes, its own quotes doubled, or take `quoting=none`"
            )
            if "new-line" in str(error):
                reason = "a carriage return in the middle of a row; remove it"
            _skip(skipped, f"{path}, line {begin}: {reason}", lines, is_one=len(lines) == 1)
            fields = []
        if fields is None:
            return
        if fields:
            yield begin, fields, list(lines), separator
            skipped = bad
        begin += len(lines)
        lines.clear()


def _skip(bad: list[str] | None, error: str, lines: list[str], is_one: bool) -> None:
    """Adds the error of a row to `bad`. Raises it where there is no such list, or the lines may not be one row."""
    if bad is None:
        raise InputError(error) from None
    if not is_one:
        raise InputError(f"{error}; it is not skipped, since a quote makes one row of {len(lines)} lines") from None
    bad.append(str(InputError(error)))


def _next_row(reader) -> list[str] | None:
    # The limit is global; it is restored for other users of the csv module in this process.
    with _FIELD_LIMIT:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(before)


def _separator(path: Path, header: str, separators: str) -> str:
    bare = _QUOTED.sub("", header)
    found = next((separator for separator in separators if separator in bare), separators[0])
    if found != separators[0]:
        log_once(logger, logging.INFO, "%s: columns are separated by %r", path, found)
    return found


def _swallows_rows(lines: list[str], separator: str, columns: int) -> bool:
    """Whether the lines of a record look like separate rows; blank ones do not matter.

    Prose has hardly any tabs, so the first and the last line decide. Other separators it has, followed by a space or a line
    end: the first, the last and half of the lines between must look like rows without those. Where two or more separators make
    a row, one at the line end may also be that of an empty last column.
    """
    bare = [_QUOTED.sub("", line).rstrip("\r\n") for line in lines if line.strip()]
    separators = columns - 1
    if separator == "\t":
        return separators > 0 and all(line.count(separator) == separators for line in (bare[0], bare[-1]))
    inside = re.compile(rf"{re.escape(separator)}(?=[^ ])")

    def is_row(line: str) -> bool:
        found = len(inside.findall(line))
        return found == separators or (separators > 1 and line.endswith(separator) and found + 1 == separators)

    between = bare[1:-1]
    return separators > 0 and is_row(bare[0]) and is_row(bare[-1]) and 2 * sum(map(is_row, between)) >= len(between)


def _json_records(path: Path, bad: list[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    remedy = 'a line is like {"text": "...", "label": "..."}'
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            record = parse_json_object(line, f"{path}, line {number}", remedy)
        except InputError as error:
            if bad is None:
                raise
            bad.append(str(error))
            continue
        yield number, record


def read_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line of a plain text file that is not blank."""
    for number, line in numbered_lines(path):
        if line.strip():
            yield number, without_end(line)
