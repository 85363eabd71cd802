"""The words of a text, their places in it, and which of them may be replaced by which."""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinybert_tf.data.tokenizer import Tokenizer

# A word is replaced by one of its own kind: content word, stop word, number or punctuation mark. Other words, such as those
# with unprintable characters, are not replaced.
WORD, STOP_WORD, NUMBER, PUNCTUATION, OTHER = range(5)

# English function words, negations included, and the parts of contractions: BERT's tokenizer splits "don't" into "don", "'"
# and "t".
STOP_WORDS = frozenset(
    """a an the this that these those such same other another each every either neither both all any some few more most much
    many several own
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves one ones who whom whose which what where when why how
    am is are was were be been being do does did doing done have has had having will would shall should can could may might
    must ought need
    not no nor never none cannot
    and or but if then else than as because since while until though although so yet unless whether
    of in on at by for with without about against between among into onto through during before after above below over under
    to from up down out off again further toward towards upon within along across behind beyond near per via
    here there now just only very too also even ever still once almost already
    s t d m ll re ve don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn needn ain""".split()
)

# Words where there is no vocabulary: runs of letters and digits, and single other characters.
_PLAIN_WORD = re.compile(r"[^\W_]+|[^\s\w]|_")


class Word(NamedTuple):
    """A word of a sentence: its bytes [begin, end), its word pieces [first, last), and its characters."""

    begin: int
    end: int
    first: int
    last: int
    surface: str


class Sentence(NamedTuple):
    """A text with its words. `pieces` is int32 [(pieces)]; None without a tokenizer."""

    encoded: bytes
    pieces: np.ndarray | None
    words: list[Word]


def split_sentences(texts: Sequence[str], tokenizer: Tokenizer | None) -> list[Sentence]:
    """Splits texts into words: BERT's basic tokens or, without a tokenizer, runs of letters and single marks."""
    if tokenizer is None:
        return [_split_plainly(text) for text in texts]
    if not texts:
        return []
    pieces, begins, ends = tokenizer.tokenize_with_offsets(texts)
    lengths = pieces.row_lengths().numpy()
    columns = [tensor.flat_values.numpy() for tensor in (pieces, begins, ends)]
    continues = np.array([word.startswith("##") for word in tokenizer.vocabulary])
    sentences, start = [], 0
    for text, length in zip(texts, lengths, strict=True):
        ids, begin, end = (column[start : start + length] for column in columns)
        sentences.append(_group_pieces(text.encode("utf-8"), ids, begin, end, continues[ids]))
        start += length
    return sentences


def _group_pieces(encoded: bytes, ids, begins, ends, continues) -> Sentence:
    firsts = np.flatnonzero(~continues)
    lasts = np.append(firsts[1:], len(ids))
    words = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=False):
        begin, end = int(begins[first]), int(ends[last - 1])
        words.append(Word(begin, end, first, last, encoded[begin:end].decode("utf-8", "replace")))
    return Sentence(encoded, ids, words)


def _split_plainly(text: str) -> Sentence:
    words, begin, position = [], 0, 0
    for match in _PLAIN_WORD.finditer(text):
        begin += len(text[position : match.start()].encode("utf-8"))
        end = begin + len(match[0].encode("utf-8"))
        words.append(Word(begin, end, 0, 0, match[0]))
        begin, position = end, match.end()
    return Sentence(text.encode("utf-8"), None, words)


def is_one_piece(sentence: Sentence, word: Word, tokenizer: Tokenizer) -> bool:
    """Whether a word is one entry of the vocabulary."""
    return word.last - word.first == 1 and sentence.pieces[word.first] != tokenizer.unk_id


def kind(text: str) -> int:
    """STOP_WORD, WORD (letters, with hyphens and apostrophes inside), NUMBER (anything with a digit), PUNCTUATION, or OTHER."""
    if text.lower() in STOP_WORDS:
        return STOP_WORD
    if text.isalpha():
        return WORD
    if not text or any(character.isspace() for character in text):
        return OTHER
    if any(character.isnumeric() for character in text):
        return NUMBER
    # Python does not count combining accents as letters.
    bare = [character for character in text if not unicodedata.category(character).startswith("M")]
    if not any(character.isalpha() for character in bare):
        return PUNCTUATION
    inside = (character for character in bare if character not in "-'’")
    return WORD if bare[0].isalpha() and bare[-1].isalpha() and all(map(str.isalpha, inside)) else OTHER


def match_case(candidate: str, surface: str) -> str:
    """The candidate in the case of the word that it replaces: capitalized or in capitals."""
    if surface.isupper() and len(surface) > 1:
        return candidate.upper()
    if surface[:1].isupper():
        return candidate[:1].upper() + candidate[1:]
    return candidate


def replace_words(sentence: Sentence, replacements: dict[int, str]) -> str:
    """The text with some of its words (by number) replaced; every other character stays the same."""
    parts, position = [], 0
    for number in sorted(replacements):
        word = sentence.words[number]
        parts += [sentence.encoded[position : word.begin], replacements[number].encode("utf-8")]
        position = word.end
    return b"".join([*parts, sentence.encoded[position:]]).decode("utf-8")
