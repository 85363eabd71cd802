"""Candidates from word vectors: the nearest neighbors by cosine."""

import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.augmentation.words import OTHER, kind
from tinybert_tf.errors import InputError

_READ_BYTES = 1 << 24
# Similarities computed at a time, in numbers: 128 MB.
_BLOCK = 1 << 25
# Further neighbors that are compared in float64, so that the ranking depends neither on the block's size nor on the order
# of summation.
_MARGIN = 32


class WordVectors:
    """Word vectors of length 1.

    Args:
        words: one a vector.
        vectors: float32 [words, dimensions]; scaled to length 1 in place.
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray):
        self.words = list(words)
        self.vectors = vectors
        self.vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        self._rows: dict[str, int] = {}
        for row, word in enumerate(self.words):
            self._rows.setdefault(word, row)
        self._kinds = np.array([kind(word) for word in self.words])
        self._known: dict[tuple[str, int, bool], list[str]] = {}

    @classmethod
    def read(cls, path: str | Path) -> "WordVectors":
        """Reads a GloVe or word2vec text file: a word and its numbers a line; word2vec's first line gives their counts.

        Raises:
            InputError: the file is missing, binary, not UTF-8, or a line has fewer or more numbers than the first.
        """
        path = Path(path)
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError):
            raise InputError(f"{path}: no such file; {MEANS}") from None
        with file:
            first = file.readline()
            fields = first.split()
            has_header = len(fields) == 2 and all(field.isdigit() and len(field) < 10 for field in fields)
            dimensions = int(fields[1]) if has_header else len(fields) - 1
            if dimensions < 2:
                raise InputError(
                    f"{path}, line 1: {len(fields)} columns, but a word and its numbers are needed; {MEANS}"
                )
            if not has_header:
                file.seek(0)
            words, blocks, line = [], [], 2 if has_header else 1
            while lines := file.readlines(_READ_BYTES):
                block_words, numbers = _parse(path, line, lines, dimensions)
                words += block_words
                blocks.append(numbers)
                line += len(lines)
        if not words:
            raise InputError(f"{path}: no vectors; {MEANS}")
        return cls(words, np.concatenate(blocks))

    def row(self, word: str) -> int | None:
        """The row of a word: unchanged, in lower case, or without accents."""
        bare = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        return next((self._rows[form] for form in (word, word.lower(), bare) if form in self._rows), None)

    def neighbors(self, words: Iterable[str], count: int, *, same_word: bool = False) -> dict[str, list[str]]:
        """The `count` words of the same kind (`words.kind`) nearest to each word that has a vector, the nearest first.

        Words that differ in case only count once, and the word itself not at all unless `same_word`.
        """
        wanted = sorted({word for word in words if kind(word) != OTHER})
        missing = [word for word in wanted if (word, count, same_word) not in self._known]
        for of_kind in sorted({kind(word) for word in missing}):
            pool = np.flatnonzero(self._kinds == of_kind)
            vectors = self.vectors[pool]
            queries = [(word, row) for word in missing if kind(word) == of_kind and (row := self.row(word)) is not None]
            size = max(1, _BLOCK // max(1, len(pool)))
            for start in range(0, len(queries), size):
                block = queries[start : start + size]
                similar = self.vectors[[row for _, row in block]] @ vectors.T
                for (word, row), similarities in zip(block, similar, strict=True):
                    nearest = pool[_largest(similarities, count + _MARGIN)]
                    names = self._ranked(word, row, nearest, same_word)
                    self._known[word, count, same_word] = names[:count]
        found = {word: self._known.get((word, count, same_word), []) for word in wanted}
        return {word: names for word, names in found.items() if names}

    def _ranked(self, word: str, row: int, nearest: np.ndarray, same_word: bool) -> list[str]:
        exact = self.vectors[nearest].astype(np.float64) @ self.vectors[row].astype(np.float64)
        order = np.lexsort((nearest, -exact.round(12)))
        names = {} if same_word else {word.casefold(): None, self.words[row].casefold(): None}
        for index in nearest[order]:
            names.setdefault(self.words[index].casefold(), self.words[index])
        return [name for name in names.values() if name is not None]


MEANS = (
    "give a text file of GloVe (https://nlp.stanford.edu/projects/glove/) or word2vec with `word_vectors=FILE`, "
    "or take every candidate from the masked LM with `word_vectors=none`"
)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    return np.argpartition(-values, count)[:count] if count < len(values) else np.arange(len(values))


def _parse(path: Path, line: int, lines: list[bytes], dimensions: int) -> tuple[list[str], np.ndarray]:
    """A block's words and numbers, float32 [lines, dimensions]; `line` is the number of its first line."""
    words, _, rests = zip(*(row.partition(b" ") for row in lines), strict=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how older NumPy says that the text is not all numbers
            numbers = np.fromstring(b" ".join(rests), np.float32, sep=" ")
    except (ValueError, DeprecationWarning):
        numbers = np.empty(0)
    if numbers.size != len(lines) * dimensions or not np.isfinite(numbers).all():
        rows = [_parse_line(path, number, row, dimensions) for number, row in enumerate(lines, line)]
        words, numbers = zip(*rows, strict=True)
    try:
        decoded = [word.decode("utf-8") for word in words]
    except UnicodeDecodeError:
        number = next(n for n, word in enumerate(words, line) if not _is_utf8(word))
        raise InputError(f"{path}, line {number}: not UTF-8; {MEANS}") from None
    return decoded, np.reshape(numbers, (len(lines), dimensions)).astype(np.float32, copy=False)


def _parse_line(path: Path, number: int, row: bytes, dimensions: int) -> tuple[bytes, np.ndarray]:
    """One line; some files have words with spaces in them."""
    word, *fields = row.rstrip().rsplit(b" ", dimensions)
    try:
        with np.errstate(over="ignore"):  # found below, as what is not finite
            values = np.array([float(field) for field in fields], np.float32)
    except ValueError:
        raise InputError(f"{path}, line {number}: not a word and {dimensions} numbers as the first line has") from None
    if len(fields) != dimensions or not np.isfinite(values).all():
        raise InputError(f"{path}, line {number}: {len(fields)} finite numbers, but the first line has {dimensions}")
    return word, values


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
