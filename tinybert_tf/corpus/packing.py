"""From tokens to examples: first the offsets of each example in the text, then all examples at once."""

import bisect
import dataclasses

import numpy as np

# Around the text of an example: [CLS] A [SEP], [CLS] A [SEP] B [SEP].
_SINGLE, _PAIR = 2, 3


@dataclasses.dataclass(frozen=True)
class Spans:
    """The text of each example as offsets into a vector of tokens; all int64 [examples].

    A, its first segment, is `first_length` tokens from `first` on, B `second_length` from `second` on; without a B that is 0.
    """

    first: np.ndarray
    first_length: np.ndarray
    second: np.ndarray
    second_length: np.ndarray


def contiguous_spans(document_ends: np.ndarray, seq_len: int) -> Spans:
    """Each document's tokens in windows of `seq_len`, special tokens included; the last one of a document may be shorter.

    Args:
        document_ends: int64 [documents], where in the tokens each document ends.
        seq_len: tokens in an example.
    """
    width = seq_len - _SINGLE
    first, ends = _evenly_cut(document_ends, width)
    return Spans(first, ends - first, ends, np.zeros_like(first))


def document_spans(
    sentence_ends: np.ndarray,
    document_ends: np.ndarray,
    seq_len: int,
    short_seq_prob: float,
    random: np.random.Generator,
) -> Spans:
    """BERT's packing (Devlin et al. 2019): consecutive sentences of a document, divided at random into A and B.

    Sentences are gathered until they reach the target length, which is `seq_len`, or with `short_seq_prob` a random shorter
    one, or the document ends. One that is then too long loses tokens of its longer segment, at random from its beginning
    or end. B always follows A: there is no next-sentence task. A single sentence has no B; one longer than an example is
    cut into several first.

    Args:
        sentence_ends: int64 [sentences], where in the tokens each sentence ends, ascending; the last is all tokens.
        document_ends: int64 [documents], where each document ends, which is also a sentence's end.
        seq_len: tokens in an example.
        short_seq_prob: share of the examples with a random target length.
        random: draws lengths, and where examples are divided and cut.
    """
    room = seq_len - _PAIR
    _, ends = _evenly_cut(sentence_ends, room)
    is_short, length, parting = random.random((3, len(ends)))
    targets = np.where(is_short < short_seq_prob, 2 + np.floor(length * (room - 1)), room).astype(np.int64)
    # Lists: element-wise access is faster than on arrays.
    ends_list, targets_list, parting_list = ends.tolist(), targets.tolist(), parting.tolist()
    chunks = []
    begin = sentence = 0
    for document_end in np.searchsorted(ends, document_ends, side="right").tolist():
        while sentence < document_end:
            target = begin + targets_list[sentence]
            last = min(bisect.bisect_left(ends_list, target, sentence, document_end), document_end - 1)
            # A are 1 to all but one of the sentences; a single one is A alone.
            first = sentence + int(parting_list[sentence] * (last - sentence))
            chunks.append((begin, ends_list[first] if last > sentence else ends_list[last], ends_list[last]))
            begin, sentence = ends_list[last], last + 1
    begin, middle, end = np.asarray(chunks, np.int64).reshape(-1, 3).T
    return _trimmed(begin, middle, end, room, random)


def assemble(tokens: np.ndarray, spans: Spans, seq_len: int, *, cls_id: int, sep_id: int, pad_id: int) -> np.ndarray:
    """The examples' word ids, of the type of `tokens` [examples, seq_len]: [CLS] A [SEP], or [CLS] A [SEP] B [SEP]."""
    position = np.arange(seq_len)
    first_sep = 1 + spans.first_length[:, None]
    last_sep = first_sep + np.where(spans.second_length, spans.second_length + 1, 0)[:, None]
    place = np.where(position < first_sep, spans.first[:, None] - 1, spans.second[:, None] - first_sep - 1) + position
    ids = np.take(tokens, place, mode="clip")
    ids[:, 0] = cls_id
    ids[(position == first_sep) | (position == last_sep)] = sep_id
    ids[position > last_sep] = pad_id
    return ids


def _evenly_cut(ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Begins and ends of the parts when consecutive ranges that end at `ends` are cut every `width`.

    The last part of each is what is left; an empty one has none.
    """
    starts = np.concatenate([[0], ends]).astype(np.int64)[:-1]
    parts = -(-(ends - starts) // width)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    begins = np.repeat(starts, parts) + number * width
    return begins, np.minimum(begins + width, np.repeat(ends, parts))


def _trimmed(begin, middle, end, room: int, random: np.random.Generator) -> Spans:
    """A = [begin, middle), B = [middle, end) truncated to `room` tokens, as if one token after the other were removed from
    the longer one, or from B if they are equal.
    """
    first, second = middle - begin, end - middle
    excess = np.maximum(first + second - room, 0)
    level = np.minimum(excess, np.abs(first - second))
    alternating = excess - level
    cut_first = np.where(first > second, level, 0) + alternating // 2
    cut_second = np.where(first > second, 0, level) + (alternating + 1) // 2
    return Spans(
        begin + random.binomial(cut_first, 0.5),
        first - cut_first,
        middle + random.binomial(cut_second, 0.5),
        second - cut_second,
    )
