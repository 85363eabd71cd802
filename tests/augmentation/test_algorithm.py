from collections import Counter

import numpy as np
import pytest

from tinybert_tf.augmentation import Augmentation, Augmenter, MaskedLM, WordVectors
from tinybert_tf.augmentation.algorithm import row_hash, words_for_vectors
from tinybert_tf.augmentation.masked_lm import Query
from tinybert_tf.augmentation.words import kind, split_sentences
from tinybert_tf.data import Example
from tinybert_tf.errors import InputError

TEXTS = (
    "the Film was good , not bad 7 !",
    "Sadly a dull movie",
    "paris and london",
    "",
    "king",
    "the old river was darkly long and cold",
)


@pytest.fixture
def make(model, tokenizer, vectors_file):
    """A function: settings -> an augmenter with both sources, or with those that `sources` names."""

    def build(texts=TEXTS, sources="both", originals=frozenset(), **settings):
        settings = Augmentation(**settings)
        masked_lm = neighbors = None
        if sources in ("both", "masked_lm"):
            masked_lm = MaskedLM(model, tokenizer, candidates=settings.candidates, same_word=settings.same_word)
        if sources in ("both", "word_vectors"):
            words = words_for_vectors(texts, tokenizer if masked_lm else None, settings)
            vectors = WordVectors.read(vectors_file)
            neighbors = vectors.neighbors(words, settings.candidates, same_word=settings.same_word)
        return Augmenter(settings, masked_lm, neighbors, originals)

    return build


def rows(texts=TEXTS, pairs=None):
    return [Example(n, text, pairs[n] if pairs else None, str(n % 2)) for n, text in enumerate(texts)]


def by_row(copies):
    grouped = {}
    for copy in copies:
        grouped.setdefault(copy.index, []).append(copy)
    return grouped


def test_a_rows_copies_do_not_depend_on_the_block_it_comes_in(make):
    whole = make(copies=6)(rows()).copies
    assert [copy for row in rows() for copy in make(copies=6)([row]).copies] == whole
    assert make(copies=6)(rows()[::-1]).copies != whole
    assert by_row(make(copies=6)(rows()[::-1]).copies) == by_row(whole)


def test_the_seed_decides(make):
    first = make(copies=6, seed=1)(rows()).copies
    assert make(copies=6, seed=1)(rows()).copies == first
    assert make(copies=6, seed=2)(rows()).copies != first


def test_replacements_come_from_the_words_candidates_and_keep_its_case(make, model, tokenizer, vectors_file):
    settings = {"replace_probability": 0.6, "copies": 150, "candidates": 4}
    (row,) = rows(["the Film was sadly SLOW , no"])
    copies = make([row.text], **settings)([row]).copies
    (sentence,) = split_sentences([row.text], tokenizer)
    masked_lm = MaskedLM(model, tokenizer, candidates=4)
    seen = [set() for _ in range(7)]
    for copy in copies:
        for number, word in enumerate(copy.text.split()):
            seen[number].add(word)

    def candidates(number):
        word = sentence.words[number]
        return masked_lm([Query(sentence.pieces, word.first, word.last, kind(word.surface))])[0]

    assert seen[1] == {"Film", *(word.capitalize() for word in candidates(1))}
    assert seen[4] == {"SLOW", *(word.upper() for word in candidates(4))}
    assert seen[3] == {"sadly", *WordVectors.read(vectors_file).neighbors(["sadly"], 4)["sadly"]}
    assert [seen[number] for number in (0, 2, 5, 6)] == [{"the"}, {"was"}, {","}, {"no"}]


def test_each_word_is_replaced_with_the_given_probability_by_a_uniformly_drawn_candidate(make):
    text = "king queen river stone"
    augmenter = make([text], copies=20_000, replace_probability=0.6, candidates=3, sources="masked_lm")
    (row,), (sentence,) = rows([text]), split_sentences([text], augmenter.tokenizer)
    draws = augmenter._draw(row, (0,), 0, sentence)
    assert abs(draws.replaced.mean() - 0.6) < 0.01
    counts = Counter((draws.choice[draws.replaced] * 3).astype(int).tolist())
    assert counts.keys() == {0, 1, 2} and max(counts.values()) < 1.05 * min(counts.values())
    # All that can be drawn is drawn: four words, each itself or one of three.
    copies, counted = augmenter(rows([text]))
    assert len(copies) == counted["copies"] == 4**4 - 1
    assert counted["duplicates"] == 20_000 - len(copies)


def test_each_side_of_a_pair_is_augmented_against_the_original_other_side(make):
    """The published code puts the last copy of the first sentence beside every copy of the second."""
    pairs = [text[::1] for text in reversed(TEXTS)]
    copies = make(copies=8)(rows(pairs=pairs)).copies
    changed = Counter()
    for copy in copies:
        first, second = copy.text != TEXTS[copy.index], copy.text_pair != pairs[copy.index]
        assert first != second
        changed["first" if first else "second"] += 1
    assert changed["first"] > 20 and changed["second"] > 20
    both = make(copies=8, both_sides=True)(rows(pairs=pairs)).copies
    assert by_row(both)[0][: len(by_row(copies)[0])] == by_row(copies)[0]
    assert any(copy.text != TEXTS[copy.index] and copy.text_pair != pairs[copy.index] for copy in both)


def test_both_sides_of_a_pair_with_the_same_text_get_copies_of_their_own(make):
    copies = make(copies=8)([Example(0, TEXTS[5], TEXTS[5], "1")]).copies
    assert {copy.text for copy in copies} != {copy.text_pair for copy in copies}


def test_duplicates_of_originals_and_of_earlier_copies_are_dropped(make):
    row = rows(["king"])
    copies, counts = make(["king"], copies=40, candidates=3)(row)
    assert len({copy.text for copy in copies}) == len(copies) == 3 and "king" not in {copy.text for copy in copies}
    assert counts["copies"] + counts["duplicates"] == 40
    known = frozenset({row_hash(copies[0].text, None)})
    fewer = make(["king"], copies=40, candidates=3, originals=known)(row).copies
    assert fewer == [copy for copy in copies if copy.text != copies[0].text]


def test_one_source_alone_serves_every_word(make):
    row = rows(["sadly dull"])
    for source, other in (("masked_lm", "word_vectors"), ("word_vectors", "masked_lm")):
        copies, counts = make(["sadly dull"], copies=30, sources=source)(row)
        first, second = zip(*(copy.text.split() for copy in copies), strict=True)
        assert len(set(first)) > 3 and len(set(second)) > 3
        assert counts[source] == sum((a != "sadly") + (b != "dull") for a, b in zip(first, second, strict=True))
        assert counts[other] == 0


def test_stop_words_numbers_and_punctuation_are_replaced_when_asked(make):
    text = "the film , 7"
    kinds = {"replace_stop_words": 0, "replace_punctuation": 2, "replace_numbers": 3}
    for name, position in kinds.items():
        copies = make([text], copies=60, **{name: True})(rows([text])).copies
        columns = [set(column) for column in zip(*(copy.text.split() for copy in copies), strict=True)]
        assert [len(column) > 1 for column in columns] == [number in (1, position) for number in range(4)]
        assert {kind(word) for word in columns[position]} == {kind(text.split()[position])}


def test_the_word_itself_may_be_drawn_when_asked(make):
    text = "king sadly queen"
    for same_word in (False, True):
        copies, _ = make([text], copies=400, candidates=100, replace_probability=1, same_word=same_word)(rows([text]))
        first, second, _ = zip(*(copy.text.split() for copy in copies), strict=True)
        assert ("king" in first, "sadly" in second) == (same_word, same_word)


def test_words_that_no_copy_replaces_are_not_asked_for(make):
    augmenter = make(["king queen river stone"] * 1, copies=1, replace_probability=0.01)
    asked = []
    augmenter.masked_lm = lambda queries: asked.extend(queries) or [[]] * len(queries)
    augmenter([Example(n, "king queen river stone", None, "1") for n in range(100)])
    assert len(asked) <= 4


def test_empty_texts_emoji_and_characters_outside_the_vocabulary_stay(make):
    texts = ["", "   ", "\U0001f600", "\U0001f600 film \u597d \x00 \ufffd"]
    copies = make(texts, copies=30)(rows(texts)).copies
    assert {copy.index for copy in copies} == {3}
    assert all(
        copy.text.startswith("\U0001f600 ") and copy.text.endswith(" \u597d \x00 \ufffd") and "film" not in copy.text
        for copy in copies
    )


def test_a_line_of_ten_thousand_words(make):
    text = " ".join("king queen river stone".split() * 2500)
    copies, counts = make([text], copies=2, replace_probability=0.4)(rows([text]))
    assert len(copies) == 2 and counts["words"] == 20_000
    assert abs(counts["masked_lm"] / 20_000 - 0.4) < 0.02
    assert all(len(copy.text.split()) == 10_000 for copy in copies)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"copies": 0}, "copies=0"),
        ({"candidates": 0}, "candidates=0"),
        ({"replace_probability": 0.0}, "replace_probability=0.0"),
        ({"replace_probability": 1.5}, "replace_probability=1.5"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**settings)


def test_without_any_source_there_is_nothing_to_do():
    with pytest.raises(InputError, match="no masked LM and no word vectors"):
        Augmenter(Augmentation(), None, None)


def test_row_hash_tells_the_sides_apart():
    assert len({row_hash("a b", None), row_hash("a", "b"), row_hash("b", "a"), row_hash("", "a b")}) == 4
    assert 0 <= row_hash("x", None) < 2**64 and isinstance(np.uint64(row_hash("x", None)), np.uint64)
