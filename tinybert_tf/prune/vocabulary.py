"""Chooses the word pieces that a smaller vocabulary keeps.

WordPiece splits a word greedily: the longest entry that the word begins with, then the longest one that the rest begins with.
A dropped entry is therefore spelled by shorter ones. The value of an entry is the number of pieces that it saves, which
depends on the other entries. So entries are dropped in rounds, the least useful first, and the words are split again after
each round.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import SPECIAL_TOKENS

CONTINUATION = "##"
# Of the entries that are to be dropped, the share that a round drops. Smaller shares gain less than 0.1% of the pieces.
_SHARE_OF_A_ROUND = 0.25
_FEWEST_OF_A_ROUND = 8
_TEXTS_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True)
class WordCounts:
    """How often each word occurs in some texts.

    Attributes:
        words: the words that the vocabulary can spell, as the tokenizer prepares them (lower case, no accents, ...).
        unknown: occurrences of words that it cannot spell, which become [UNK].
    """

    words: Mapping[str, int]
    unknown: int = 0


@dataclasses.dataclass(frozen=True)
class Coverage:
    """The effect of a smaller vocabulary on texts.

    Attributes:
        words: in the texts.
        pieces_per_word_before, pieces_per_word_after: word pieces for each word; [UNK] is one.
        unknown_before, unknown_after: share of the words that become [UNK].
    """

    words: int
    pieces_per_word_before: float
    pieces_per_word_after: float
    unknown_before: float
    unknown_after: float


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> WordCounts:
    """Counts the words of texts, put together again from the tokenizer's pieces."""
    counts: Counter[tuple[int, ...]] = Counter()
    continues = np.array([word.startswith(CONTINUATION) for word in tokenizer.vocabulary])
    texts, chunk = iter(texts), []
    while chunk := list(itertools.islice(texts, _TEXTS_AT_A_TIME)):
        pieces = tokenizer.tokenize(chunk).flat_values.numpy()
        begins = np.flatnonzero(~continues[pieces]).tolist()
        pieces = pieces.tolist()
        ends = [*begins, len(pieces)][1:]
        counts.update(tuple(pieces[begin:end]) for begin, end in zip(begins, ends, strict=True))
    unknown = counts.pop((tokenizer.unk_id,), 0)
    words: Counter[str] = Counter()
    for pieces, count in counts.items():
        words["".join(tokenizer.vocabulary[piece].removeprefix(CONTINUATION) for piece in pieces)] += count
    return WordCounts(words, unknown)


def split_word(word: str, vocabulary: Collection[str], without: str | None = None) -> list[str] | None:
    """The pieces of a word, the longest match first; None where there are none, so that the word becomes [UNK].

    >>> split_word("playing", {"play", "p", "##ing", "##l"})
    ['play', '##ing']

    Args:
        word: as the tokenizer prepares it.
        vocabulary: the entries; a set or dict.
        without: an entry to ignore.
    """
    pieces, begin = [], 0
    while begin < len(word):
        prefix = CONTINUATION if begin else ""
        for end in range(len(word), begin, -1):
            piece = prefix + word[begin:end]
            if piece in vocabulary and piece != without:
                pieces.append(piece)
                begin = end
                break
        else:
            return None
    return pieces


def indispensable(vocabulary: Sequence[str], added: Collection[str] = ()) -> set[str]:
    """The entries that every smaller vocabulary keeps, so that no word becomes [UNK] that was not.

    These are the special tokens, the tokens that were added by hand, every single character in both of its forms (`a` and
    `##a`), and entries with a character that has no such form, since nothing else can spell them.
    """
    entries = set(vocabulary)
    kept = {*SPECIAL_TOKENS, *added} & entries
    for entry in vocabulary:
        if entry in kept or entry.startswith("[unused"):
            continue
        spelled = entry.removeprefix(CONTINUATION)
        begin, *others = spelled or entry
        forms = [CONTINUATION + begin if entry != spelled else begin, *(CONTINUATION + other for other in others)]
        if len(spelled) <= 1 or any(form not in entries for form in forms):
            kept.add(entry)
    return kept


def choose_words(vocabulary: Sequence[str], counts: WordCounts, size: int, added: Collection[str] = ()) -> list[int]:
    """The entries that spell some texts in the fewest pieces.

    Args:
        vocabulary: the entries in the order of their ids.
        counts: the words of the texts.
        size: how many entries are kept.
        added: tokens that were added by hand, which are kept.

    Returns:
        the ids of the `size` entries that are kept, in their order.

    Raises:
        InputError: `size` is too small for the entries that must be kept.
    """
    required = indispensable(vocabulary, added)
    if size < len(required):
        raise InputError(
            f"the special tokens and single characters alone are {len(required)} entries; take at least as many",
            "vocab_size",
            size,
        )
    ids = {word: index for index, word in enumerate(vocabulary)}
    kept = set(vocabulary)
    while len(kept) > size:
        savings = _savings(counts.words, kept, required)
        surplus = len(kept) - size
        unused = len(kept) - len(required) - len(savings)
        count = max(_FEWEST_OF_A_ROUND, round(surplus * _SHARE_OF_A_ROUND), unused)
        # Among equal entries the later one is dropped: BERT's vocabulary begins with frequent words.
        order = sorted(kept - required, key=lambda word: (savings[word], -ids[word]))
        kept.difference_update(order[: min(count, surplus)])
    return sorted(ids[word] for word in kept)


def _savings(counts: Mapping[str, int], kept: Collection[str], required: Collection[str]) -> Counter[str]:
    """The pieces that each entry in use saves, required ones left out."""
    savings: Counter[str] = Counter()
    for word, count in counts.items():
        pieces = split_word(word, kept)
        for piece in {*pieces} - required:
            savings[piece] += count * (len(split_word(word, kept, without=piece)) - len(pieces))
    return savings


def coverage(vocabulary: Sequence[str], kept: Sequence[int], counts: WordCounts) -> Coverage:
    """Measures how a smaller vocabulary spells some texts.

    Args:
        vocabulary: the entries before, in the order of their ids.
        kept: the ids of those that are kept.
        counts: the words of texts, best of others than those that `kept` was chosen for.
    """
    words = sum(counts.words.values()) + counts.unknown
    found = {}
    for when, entries in (("before", set(vocabulary)), ("after", {vocabulary[index] for index in kept})):
        pieces, unknown = counts.unknown, counts.unknown
        for word, count in counts.words.items():
            spelled = split_word(word, entries)
            pieces += count * (1 if spelled is None else len(spelled))
            unknown += count if spelled is None else 0
        found[f"pieces_per_word_{when}"] = round(pieces / max(words, 1), 4)
        found[f"unknown_{when}"] = round(unknown / max(words, 1), 6)
    return Coverage(words=words, **found)
