"""The paper's data augmentation (Algorithm 1), a block of rows at a time."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinybert_tf.augmentation.masked_lm import MaskedLM, Query
from tinybert_tf.augmentation.words import (
    NUMBER,
    OTHER,
    PUNCTUATION,
    STOP_WORD,
    Sentence,
    is_one_piece,
    kind,
    match_case,
    replace_words,
    split_sentences,
)
from tinybert_tf.data.split import Example
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.settings import setting

# Where a candidate came from, as the counts name it.
SOURCES = ("masked_lm", "word_vectors")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Settings of Algorithm 1; the defaults are the paper's."""

    copies: int = setting(20, "augmented examples of each example, and of each side of a pair (the paper's N_a)")
    replace_probability: float = setting(
        0.4, "probability that a word of an augmented example is replaced (the paper's p_t)"
    )
    candidates: int = setting(15, "candidates for a word, all equally likely (the paper's K)")
    both_sides: bool = setting(False, "pairs: also make as many examples with both sides augmented")
    replace_stop_words: bool = setting(
        False, "also replace stop words, by other stop words (the published code does not)"
    )
    replace_numbers: bool = setting(False, "also replace numbers, by numbers")
    replace_punctuation: bool = setting(False, "also replace punctuation marks, by other marks")
    same_word: bool = setting(False, "allow a word as its own candidate")
    seed: int = setting(0, "random seed: words, candidates, order of the examples")

    def __post_init__(self):
        for name in ("copies", "candidates"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", name, getattr(self, name))
        if not 0 < self.replace_probability <= 1:
            raise InputError("must be above 0 and at most 1", "replace_probability", self.replace_probability)
        if self.seed < 0:
            raise InputError("must be 0 or more", "seed", self.seed)


class Augmented(NamedTuple):
    """The augmented examples of a block, grouped by row, each with its row's index and label; and counts. Counts: `rows`,
    `copies`, `duplicates` (dropped), `words` of the augmented examples, and how many of them were replaced by each of
    `SOURCES`.
    """

    copies: list[Example]
    counts: Counter


class _Draw(NamedTuple):
    """One side's random numbers in one kind of copy, both float64 [copies, words]."""

    replaced: np.ndarray
    choice: np.ndarray


class Augmenter:
    """Algorithm 1: each word of each augmented example is replaced with probability p_t by one of its K equally likely
    candidates.

    Words that are one word piece get their candidates from the masked LM, others from the word vectors; with only one of the
    two it serves every word. A word without candidates is kept. An augmented pair has one side augmented and the other
    unchanged. Two things follow the published code and not Algorithm 1's text: all candidates of a word come from the
    original sentence (without the other side of a pair), not from the sentence that already has replacements; and K is
    counted after filtering by kind (content, stop word, number) and removing special tokens and the word itself.

    Augmented examples depend only on the seed, the row and its index, not on the block. One that equals an original row or
    an earlier one of the same row is dropped, not drawn again.

    Source: Jiao et al. 2020, Algorithm 1.

    Args:
        settings: the algorithm's.
        masked_lm: made with the same settings; None without one.
        neighbors: candidates of words from word vectors; None without them.
        originals: `row_hash` of every original row.
    """

    def __init__(
        self,
        settings: Augmentation,
        masked_lm: MaskedLM | None,
        neighbors: Mapping[str, list[str]] | None,
        originals: frozenset[int] = frozenset(),
    ):
        if masked_lm is None and neighbors is None:
            raise InputError("no masked LM and no word vectors: one of them is needed to replace words")
        self.settings, self.masked_lm = settings, masked_lm
        self.tokenizer = masked_lm.tokenizer if masked_lm else None
        self.neighbors, self.originals = neighbors, originals

    def __call__(self, rows: Sequence[Example]) -> Augmented:
        sentences = self._split(rows)
        draws = {}
        for row in rows:
            for sides in self._variants(row):
                for side in sides:
                    draws[row.index, sides, side] = self._draw(row, sides, side, sentences[_side(row, side)])
        candidates = self._candidates(rows, sentences, draws)
        copies, counts = [], Counter(rows=len(rows))
        for row in rows:
            copies += self._copies(row, sentences, draws, candidates, counts)
        return Augmented(copies, counts)

    def _split(self, rows: Sequence[Example]) -> dict[str, Sentence]:
        texts = list(dict.fromkeys(text for row in rows for text in (row.text, row.text_pair) if text is not None))
        return dict(zip(texts, split_sentences(texts, self.tokenizer), strict=True))

    def _variants(self, row: Example) -> tuple[tuple[int, ...], ...]:
        """The sides that are augmented together."""
        if row.text_pair is None:
            return ((0,),)
        return ((0,), (1,), (0, 1)) if self.settings.both_sides else ((0,), (1,))

    def _draw(self, row: Example, sides: tuple[int, ...], side: int, sentence: Sentence) -> _Draw:
        generator = np.random.default_rng((self.settings.seed, row.index, len(sides), side))
        chance, choice = generator.random((2, self.settings.copies, len(sentence.words)))
        return _Draw(chance < self.settings.replace_probability, choice)

    def _candidates(self, rows, sentences, draws) -> dict[tuple[str, int], tuple[str, list[str]]]:
        """(text, number of the word) -> (source, candidates), for the words that some augmented example replaces."""
        wanted = {}
        for row in rows:
            for sides in self._variants(row):
                for side in sides:
                    text = _side(row, side)
                    for number in np.flatnonzero(draws[row.index, sides, side].replaced.any(axis=0)).tolist():
                        surface = sentences[text].words[number].surface
                        if replaceable(surface, self.settings):
                            wanted[text, number] = surface
        asked = [key for key in wanted if self.asks_masked_lm(sentences[key[0]], key[1])]
        queries = []
        for text, number in asked:
            word = sentences[text].words[number]
            queries.append(Query(sentences[text].pieces, word.first, word.last, kind(word.surface)))
        answers = self.masked_lm(queries) if queries else []
        found = {key: ("masked_lm", answer) for key, answer in zip(asked, answers, strict=True)}
        for key, surface in wanted.items():
            if key not in found:
                found[key] = ("word_vectors", self.neighbors.get(surface, []))
        return {key: (source, words) for key, (source, words) in found.items() if words}

    def asks_masked_lm(self, sentence: Sentence, number: int) -> bool:
        """Whether a word gets its candidates from the masked LM and not from the word vectors."""
        if self.masked_lm is None or self.neighbors is None:
            return self.masked_lm is not None
        return is_one_piece(sentence, sentence.words[number], self.tokenizer)

    def _copies(self, row: Example, sentences, draws, candidates, counts: Counter) -> list[Example]:
        seen = {(row.text, row.text_pair)}
        copies = []
        for sides in self._variants(row):
            for number in range(self.settings.copies):
                replacements, replaced = {}, Counter()
                for side in sides:
                    text = _side(row, side)
                    sentence, draw = sentences[text], draws[row.index, sides, side]
                    replacements[side] = {}
                    for word in np.flatnonzero(draw.replaced[number]).tolist():
                        source, words = candidates.get((text, word), (None, ()))
                        if words:
                            drawn = words[int(draw.choice[number, word] * len(words))]
                            replacements[side][word] = match_case(drawn, sentence.words[word].surface)
                            replaced[source] += 1
                    replaced["words"] += len(sentence.words)
                copy = self._copy(row, sentences, replacements)
                texts = (copy.text, copy.text_pair)
                if texts in seen or row_hash(*texts) in self.originals:
                    counts["duplicates"] += 1
                    continue
                seen.add(texts)
                counts["copies"] += 1
                for name, count in replaced.items():
                    counts[name] += count
                copies.append(copy)
        return copies

    def _copy(
        self, row: Example, sentences: Mapping[str, Sentence], replacements: dict[int, dict[int, str]]
    ) -> Example:
        """The row with words of its sides replaced: side -> number of the word -> replacement."""
        texts = [row.text, row.text_pair]
        for side, words in replacements.items():
            texts[side] = replace_words(sentences[texts[side]], words)
        return row._replace(text=texts[0], text_pair=texts[1])


def _side(row: Example, side: int) -> str:
    return row.text if side == 0 else row.text_pair


def replaceable(surface: str, settings: Augmentation) -> bool:
    """Whether the settings let a word be replaced."""
    by_option = {
        STOP_WORD: settings.replace_stop_words,
        NUMBER: settings.replace_numbers,
        PUNCTUATION: settings.replace_punctuation,
        OTHER: False,
    }
    return by_option.get(kind(surface), True)


def row_hash(text: str, text_pair: str | None) -> int:
    """64 bits of a row's texts."""
    joined = text if text_pair is None else f"{text}\0{text_pair}"
    return int.from_bytes(hashlib.blake2b(joined.encode("utf-8"), digest_size=8).digest(), "little")


def words_for_vectors(texts: Iterable[str], tokenizer: Tokenizer | None, settings: Augmentation) -> set[str]:
    """The replaceable words of some texts that get their candidates from word vectors.

    With a masked LM, whose `tokenizer` is given, those of several word pieces and those that its vocabulary lacks; else
    all.
    """
    found = set()
    for sentence in split_sentences(list(texts), tokenizer):
        for word in sentence.words:
            asks_masked_lm = tokenizer is not None and is_one_piece(sentence, word, tokenizer)
            if not asks_masked_lm and replaceable(word.surface, settings):
                found.add(word.surface)
    return found
