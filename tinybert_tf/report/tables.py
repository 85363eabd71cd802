"""Rows of results as Markdown and CSV."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NOTHING = "–"


def plain(value: Any) -> str:
    """A number for people: 14,350,248; 0.886; 1.2e-05."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: the key in a row, its heading, and the format of its values."""

    key: str
    heading: str
    text: Callable[[Any], str] = plain

    def of(self, row: Mapping[str, Any]) -> str:
        value = row.get(self.key)
        return NOTHING if value is None else self.text(value)


def used_columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column]) -> list[Column]:
    """The columns that at least one row has a value for; a bare name is a column of that heading."""
    columns = [Column(column, column) if isinstance(column, str) else column for column in columns]
    return [column for column in columns if any(row.get(column.key) is not None for row in rows)]


def is_numeric(rows: Sequence[Mapping[str, Any]], column: Column) -> bool:
    values = [row[column.key] for row in rows if row.get(column.key) is not None]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column]) -> str:
    """A Markdown table with aligned columns; numbers are right-aligned."""
    columns = used_columns(rows, columns)
    if not columns:
        return ""
    right = [is_numeric(rows, column) for column in columns]
    lines = [[_cell(column.heading) for column in columns]]
    lines += [[_cell(column.of(row)) for column in columns] for row in rows]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(columns))]

    def joined(cells):
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (width - 1) + ":" if r else "-" * width for width, r in zip(widths, right, strict=True)]
    return "\n".join([joined(lines[0]), joined(rule), *map(joined, lines[1:])]) + "\n"


def csv_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column]) -> str:
    """The same rows for a program: keys as headings, values as they are, nothing where there is none."""
    columns = used_columns(rows, columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    writer.writerows([row.get(column.key) for column in columns] for row in rows)
    return text.getvalue()


def escaped(text: str) -> str:
    """One line that Markdown does not take for HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    return escaped(text).replace("|", "\\|")
