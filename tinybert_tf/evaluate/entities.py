"""Scores of tagged words: whole entities, as conlleval and seqeval count them (Tjong Kim Sang and De Meulder, CoNLL 2003)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    """Words `begin` to `end`, the latter not included."""

    kind: str
    begin: int
    end: int


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of a sentence's tags: IOB1, IOB2 ("BIO") or IOBES; what does not follow the scheme is read leniently.

    An entity begins at B- or S-, and at any other tag whose predecessor is of another kind, outside, or an entity's end
    (E-, S-). It goes on until the next one begins or an O comes. A tag without such a prefix is an entity's kind itself.
    """
    begin = None
    last_prefix, last_kind = "O", ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, kind = ("O", "") if tag == "O" else _split(tag)
        goes_on = prefix in "IE" and last_prefix in "BI" and kind == last_kind
        if begin is not None and not goes_on:
            yield Entity(last_kind, begin, index)
            begin = None
        if begin is None and prefix != "O":
            begin = index
        last_prefix, last_kind = prefix, kind


def _split(tag: str) -> tuple[str, str]:
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in ("B", "I", "E", "S") else ("I", tag)


def entity_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """`f1`, `precision` and `recall` of entities over all sentences, and `accuracy` of the single tags.

    An entity is right if its kind and both of its ends are. What has nothing to count scores 0.

    Args:
        predicted: a tag a word, for each sentence.
        true: likewise.
    """
    pairs = list(zip(predicted, true, strict=True))
    found = {(number, entity) for number, (tags, _) in enumerate(pairs) for entity in entities(tags)}
    wanted = {(number, entity) for number, (_, tags) in enumerate(pairs) for entity in entities(tags)}
    right = len(found & wanted)
    words = [ours == theirs for row in pairs for ours, theirs in zip(*row, strict=True)]
    return {
        "f1": 2 * right / max(1, len(found) + len(wanted)),
        "precision": right / max(1, len(found)),
        "recall": right / max(1, len(wanted)),
        "accuracy": sum(words) / max(1, len(words)),
    }
