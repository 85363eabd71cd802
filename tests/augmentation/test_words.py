import pytest

from tinybert_tf.augmentation.words import (
    NUMBER,
    OTHER,
    PUNCTUATION,
    STOP_WORD,
    WORD,
    is_one_piece,
    kind,
    match_case,
    replace_words,
    split_sentences,
)


def split(text, tokenizer):
    return split_sentences([text], tokenizer)[0]


@pytest.mark.parametrize(
    "text",
    [
        'He said: "Good FILM!"  (caf\u00e9)',
        "\U0001f600 \u597d\u7535film",
        "a\u0301b x",
        "",
        "   ",
        "tab\there",
        "\x00 null \ufffd zero\u200bwidth",
        "word " * 10_000,
    ],
)
def test_a_text_comes_back_when_nothing_is_replaced_and_surfaces_are_where_they_say(text, tokenizer):
    for sentence in (split(text, tokenizer), split(text, None)):
        assert replace_words(sentence, {}) == text
        for word in sentence.words:
            assert sentence.encoded[word.begin : word.end].decode() == word.surface
        assert replace_words(sentence, {n: w.surface for n, w in enumerate(sentence.words)}) == text


def test_words_are_berts_basic_tokens_with_their_pieces(tokenizer):
    sentence = split("Caf\u00e9, SADLY unkind1 film's", tokenizer)
    assert [word.surface for word in sentence.words] == ["Caf\u00e9", ",", "SADLY", "unkind1", "film", "'", "s"]
    assert [word.last - word.first for word in sentence.words] == [1, 1, 2, 1, 1, 1, 1]
    assert [is_one_piece(sentence, word, tokenizer) for word in sentence.words] == [
        True, True, False, False, True, True, False,
    ]  # fmt: skip


def test_replacing_keeps_quotes_spaces_and_what_stands_around(tokenizer):
    sentence = split('the  "film" , \U0001f600 was \u597d!', tokenizer)
    assert replace_words(sentence, {2: "movie", 6: "is"}) == 'the  "movie" , \U0001f600 is \u597d!'


def test_without_a_tokenizer_words_are_runs_of_letters(tokenizer):
    words = split("Don't go_to caf\u00e9 7!", None).words
    assert [word.surface for word in words] == ["Don", "'", "t", "go", "_", "to", "caf\u00e9", "7", "!"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("film", WORD), ("caf\u00e9", WORD), ("cafe\u0301", WORD), ("\u597d", WORD), ("mother-in-law", WORD), ("o'neil", WORD),
        ("the", STOP_WORD), ("Not", STOP_WORD), ("THEY", STOP_WORD),
        ("7", NUMBER), ("1990s", NUMBER), ("3.5", NUMBER), ("\u00bd", NUMBER),
        ("!", PUNCTUATION), ("...", PUNCTUATION), ("\U0001f600", PUNCTUATION), ("_", PUNCTUATION),
        ("", OTHER), ("new york", OTHER), ("new_york", OTHER), ("-based", OTHER), ("zero\u200bwidth", OTHER),
    ],
)  # fmt: skip
def test_kinds(text, expected):
    assert kind(text) == expected


@pytest.mark.parametrize(
    ("surface", "expected"),
    [("film", "movie"), ("Film", "Movie"), ("FILM", "MOVIE"), ("I", "Movie"), ("fILM", "movie")],
)
def test_a_candidate_takes_the_case_of_what_it_replaces(surface, expected):
    assert match_case("movie", surface) == expected
