"""Token classification from files in CoNLL's layouts: a word and its tag a line, a blank line between sentences."""

import collections
import dataclasses
import functools
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinybert_tf.data.custom import CustomFiles, file_splits, known_labels, report_skipped, with_metrics
from tinybert_tf.data.lines import log_once, numbered_lines
from tinybert_tf.data.split import Example, TaskData
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

_DOCUMENT_START = "-DOCSTART-"
# https://universaldependencies.org/format.html
_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_LINES_TO_RECOGNIZE = 1000
_ID = re.compile(r"\d+([-.]\d+)?")
_COUNTED = 0.9  # of the sentences: a file may lack a word here and there
# Of a header, which these layouts do not have.
_WORD_NAMES = {"word", "words", "token", "tokens", "form"}
_TAG_NAMES = {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags"}
_COLUMN_NAMES = "# global.columns ="  # CoNLL-U Plus

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ConllLayout:
    """Where words and tags are in a file.

    Attributes:
        word, tag: columns from 0; -1 is the last.
        columns: of a line, which distinguishes a comment from a word "#".
        is_conllu: CoNLL-U, in which "#" begins a comment.
        has_ids: the first column counts the words; lines whose id is not an integer (3-4, 8.1) hold no word of their own.
        has_tabs: between the columns.
    """

    word: int
    tag: int
    columns: int
    is_conllu: bool
    has_ids: bool
    has_tabs: bool


class _Line(NamedTuple):
    """A line that holds a word."""

    number: int
    fields: list[str]
    has_tabs: bool


def load_conll(files: CustomFiles, labels: Sequence[str] | None = None) -> TaskData:
    """The task of the files, with the splits "train", "dev" and "test"; "test" is dev without its tags.

    A tag of dev that train lacks is one that no model predicts: it counts as missed, which is logged.

    Args:
        files: `train_file`, `dev_file`, `unlabelled_file`, `tag_column`, `skip_bad_rows`.
        labels: see `load_task`.

    Raises:
        InputError: with file and line, whatever cannot be read; or dev and train have no tag in common.
    """
    read = lambda path, has_tags=True: read_conll(path, files.tag_column, has_tags, files.skip_bad_rows)
    tags = lambda path: (tag for row in read(path) for tag in (row.label or "").split(" "))
    whole = dataclasses.replace(files, label_separator="none")  # B-A|B is one tag
    task = Task("token_classification", "token_classification", "", known_labels(whole, labels, tags), 0, None, -1)
    task = with_metrics(task, files.main_metric)
    wrong = None
    if files.dev_file is not None and Path(files.dev_file).is_file():
        unseen, wrong = _unseen(files.dev_file, task.labels, tags)
        task = dataclasses.replace(task, unseen=unseen)

    def rows(path: Path, has_tags: bool = True) -> Iterator[Example]:
        if wrong is not None and has_tags and path == Path(str(files.dev_file)):
            raise wrong
        return read(path, has_tags)

    return file_splits(task, files, rows)


def _unseen(path: str, known: Sequence[str], tags) -> tuple[tuple[str, ...], InputError | None]:
    """(tags of a dev file that training lacks, why the file cannot be scored); without tags it can still be predicted."""
    try:
        counts = collections.Counter(tags(Path(path)))
    except InputError as error:
        return (), error
    unseen = tuple(sorted(counts.keys() - set(known)))
    if len(unseen) == len(counts):
        return (), InputError(
            f"{path}: has the tags {', '.join(unseen[:10])}, none of which training had: {', '.join(known[:10])}"
        )
    if unseen:
        words = sum(counts[tag] for tag in unseen)
        logger.warning(
            "%s: %d words have tags that training lacks (%s); they count as missed", path, words, ", ".join(unseen)
        )
    return unseen, None


def read_conll(
    path: Path, tag_column: str | None = None, has_tags: bool = True, skip_bad_rows: bool = False
) -> Iterator[Example]:
    """The sentences of a file: CoNLL-2003's layout, columns separated by tabs or spaces, or CoNLL-U, which is recognized.

    Args:
        path: the file.
        tag_column: where the tag is, from 1, or a name of CoNLL-U; None: the last column, of CoNLL-U the fourth, UPOS.
        has_tags: False reads the words alone.
        skip_bad_rows: skip sentences with a malformed line, and log how many.

    Raises:
        InputError: with its line, whatever is malformed; no sentences; no such column.
    """
    layout = conll_layout(path, tag_column, has_tags)
    read, bad = 0, []
    for place, lines in enumerate(_sentences(path, layout)):
        if not place:
            _check_header(path, lines[0], layout)
        try:
            words, tags = _words_and_tags(path, lines, layout, has_tags)
        except InputError as error:
            if not skip_bad_rows:
                raise
            bad.append(str(error))
            continue
        yield Example(place, " ".join(words), None, " ".join(tags) if has_tags else None)
        read += 1
    report_skipped(path, read, bad, "sentences")


def _sentences(path: Path, layout: ConllLayout) -> Iterator[list[_Line]]:
    """The lines of each sentence."""
    lines: list[_Line] = []
    for number, text in numbered_lines(path):
        fields = _fields(text)
        if fields and fields[0] != _DOCUMENT_START:
            line = _Line(number, fields, "\t" in text)
            if _is_comment(line, layout) or (layout.has_ids and _ID.fullmatch(fields[0]) and not fields[0].isdecimal()):
                continue
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _words_and_tags(
    path: Path, lines: Sequence[_Line], layout: ConllLayout, has_tags: bool
) -> tuple[list[str], list[str]]:
    words, tags = [], []
    for line in lines:
        _check_columns(path, line, layout, layout.columns if has_tags and line.has_tabs else 0)
        words.append(_field(path, line.number, line.fields, layout.word, layout))
        if has_tags:
            tags.append(_field(path, line.number, line.fields, layout.tag, layout))
    return words, tags


def conll_layout(path: Path, tag_column: str | None = None, has_tags: bool = True) -> ConllLayout:
    """The layout of a file, by its first lines; without tags its `tag` is -1, whatever the file has.

    Raises:
        InputError: the file has no such column, or it holds the words.
    """
    layout = _layout(path, tag_column, has_tags)
    if has_tags and tag_column is not None and layout.tag == layout.word:
        raise InputError(f"holds the words of {path}; name the column of the tags", "tag_column", tag_column)
    return layout


def _layout(path: Path, tag_column: str | None, has_tags: bool) -> ConllLayout:
    names: Sequence[str] = _CONLLU
    columns, has_tabs = 0, False
    for number, line in numbered_lines(path):
        has_tabs = "\t" in line
        if number == 1 and line.startswith(_COLUMN_NAMES):
            names = line.removeprefix(_COLUMN_NAMES).lower().split()
        fields = _fields(line)
        if not fields or fields[0] == _DOCUMENT_START or fields[0].startswith("#"):
            columns = columns or len(fields)  # of a file of nothing else
            continue
        columns = len(fields)
        is_conllu = names is not _CONLLU or (has_tabs and columns == 10 and _ID.fullmatch(fields[0]))
        if not is_conllu:
            break
        word = names.index("form") if "form" in names else 1
        of_conllu = functools.partial(
            ConllLayout, word, columns=columns, is_conllu=True, has_ids="id" in names, has_tabs=has_tabs
        )
        if not has_tags:
            return of_conllu(tag=-1)
        tag = "upos" if tag_column is None else tag_column.lower()
        if tag in names:
            log_once(logger, logging.INFO, "%s: CoNLL-U (%s); the tags are %s", path, " ".join(names), tag)
            return of_conllu(tag=names.index(tag))
        return of_conllu(tag=_column(path, tag_column or "upos", columns, names))
    word = int(columns > 1 + has_tags and _is_numbered(path))
    if word and has_tags:
        message = "%s: column 1 counts the words, which are column 2; the tags are %s"
        log_once(logger, logging.INFO, message, path, tag_column or f"column {columns}")
    is_last = tag_column is None or not has_tags
    tag = -1 if is_last else _column(path, tag_column, columns, ())
    return ConllLayout(word, tag, columns, is_conllu=False, has_ids=bool(word), has_tabs=has_tabs)


def _is_numbered(path: Path) -> bool:
    """Whether the first column counts the words (from 0 or 1) of nearly all sentences, as GermEval 2014's files have it.

    Numbers such as 3-4 and 8.1 are of CoNLL-U's lines without a word of their own.
    """
    numbers: list[str] = []
    for _, line in itertools.islice(numbered_lines(path), _LINES_TO_RECOGNIZE):
        fields = _fields(line)
        if not fields or fields[0] == _DOCUMENT_START or fields[0].startswith("#"):
            numbers.append("")
        else:
            numbers.append(fields[0])
    sentences = [list(words) for is_word, words in itertools.groupby(numbers, bool) if is_word]
    if not all(_ID.fullmatch(word) for words in sentences for word in words):
        return False
    counted = 0
    for words in sentences:
        integers = [int(word) for word in words if word.isdecimal()]
        first = integers[0] if integers[:1] == [0] else 1
        counted += integers == list(range(first, first + len(integers)))
    return any(len(words) > 1 for words in sentences) and counted >= _COUNTED * len(sentences)


def _column(path: Path, tag_column: str, columns: int, names: Sequence[str]) -> int:
    if not tag_column.isdecimal() or not 1 <= int(tag_column) <= columns:
        known = f"1 to {columns}" + (f" or {', '.join(names)}" if names else "")
        raise InputError(f"no such column; {path} has {known}", "tag_column", tag_column)
    return int(tag_column) - 1


def _fields(line: str) -> list[str]:
    """The columns of a line; between tabs one may be empty. Empty for a blank line."""
    if "\t" not in line:
        return [field for field in line.strip(" \r\n").split(" ") if field]
    fields = [field.strip(" \r\n") for field in line.split("\t")]
    return fields if any(fields) else []


def _is_comment(line: _Line, layout: ConllLayout) -> bool:
    first = line.fields[0]
    if layout.is_conllu or first.startswith("# "):  # with tabs between columns
        return first.startswith("#")
    return first == "#" and (len(line.fields) != layout.columns or (layout.has_tabs and not line.has_tabs))


def _check_columns(path: Path, line: _Line, layout: ConllLayout, least: int) -> None:
    """Raises InputError for a line whose tag would be taken from beside a word with a space in it, and for one of fewer than
    `least` columns."""
    number, columns = line.number, len(line.fields)
    if columns < least:
        raise InputError(
            f"{path}, line {number}: {columns} columns, but lines before it have {least}; write every column, also those "
            "that are empty"
        )
    if columns > layout.columns:
        raise InputError(
            f"{path}, line {number}: {columns} columns, but lines before it have {layout.columns}; a line holds one word "
            "without spaces"
        )


def _check_header(path: Path, first: _Line, layout: ConllLayout) -> None:
    """Raises InputError if the first line names the columns."""
    names = [field.lower() for field in first.fields]
    if _WORD_NAMES & set(names[:-1]) and names[-1] in _TAG_NAMES:
        raise InputError(f"{path}, line {first.number}: looks like a header ({' '.join(first.fields)}); remove it")


def _field(path: Path, number: int, fields: list[str], column: int, layout: ConllLayout) -> str:
    if len(fields) < 2 and column:
        raise InputError(f"{path}, line {number}: {fields[0]!r} has no tag; a line holds a word and its tag")
    if column >= len(fields):
        raise InputError(f"{path}, line {number}: {len(fields)} columns, but the tag is in column {column + 1}")
    field = fields[column]
    if not field:
        number_of_column = column % len(fields) + 1
        kind, remedy = ("word", "") if column == layout.word else ("tag", ", or name another `tag_column`")
        raise InputError(f"{path}, line {number}: the {kind} is empty (column {number_of_column}); fill it in{remedy}")
    if " " in field and layout.is_conllu:
        return field.replace(" ", "\u00a0")  # part of some languages' words, a space to the tokenizer
    if " " in field:
        raise InputError(f"{path}, line {number}: {field!r} holds a space; a line holds one word")
    return field
