"""Which files of a model directory say how texts are split."""

import json
import logging

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.tokenizer_files import open_vocabulary, read_vocabulary
from tinybert_tf.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary

WORDS = (*SPECIAL_TOKENS, "the", "film", "##s")


ADDED = [{"id": 8, "content": "[URL]", "normalized": True}, {"id": 9, "content": "[USER]", "normalized": True}]


def write(folder, words=WORDS, **files):
    """vocab.txt, unless `words` is None, and files by name without .json."""
    if words is not None:
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def fast(words=WORDS, model=(), **parts):
    """A tokenizer.json."""
    wordpiece = {"type": "WordPiece", "vocab": {word: index for index, word in enumerate(words)}} | dict(model)
    normalizer = {"type": "BertNormalizer", "lowercase": False, "strip_accents": None, "handle_chinese_chars": True}
    return {"model": wordpiece, "normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}} | parts


def test_a_vocabulary_with_capital_letters_is_cased_where_no_file_says(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "tinybert_tf"):
        assert open_vocabulary(write(tmp_path)).lower_case
        assert not caplog.messages
        vocabulary = open_vocabulary(write(tmp_path, (*WORDS, "US", "##A", "us")))
        assert not vocabulary.lower_case and not vocabulary.strip_accents
    assert len(caplog.messages) == 1
    assert "case is kept, since 2 of its 11 words have capital letters (US, ##A)" in caplog.messages[0]
    assert not read_vocabulary(tmp_path / "vocab.txt").lower_case
    assert read_vocabulary(tmp_path / "vocab.txt", lower_case=True).lower_case
    assert open_vocabulary(write(tmp_path, tokenizer_config={"do_lower_case": True})).lower_case


def test_the_entry_that_somebody_replaced_does_not_make_a_vocabulary_cased(tmp_path):
    many = [f"w{number}" for number in range(2000)]
    assert open_vocabulary(write(tmp_path, (*WORDS, *many, "COVID"))).lower_case


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens": {"[URL]": 8, "[USER]": 9}},
        {
            "tokenizer_config": {
                "added_tokens_decoder": {
                    "0": {"content": "[PAD]", "special": True},
                    "8": {"content": "[URL]", "special": True, "normalized": True},
                    "9": {"content": "[USER]", "normalized": True, "single_word": False},
                }
            }
        },
        {"tokenizer": fast(added_tokens=ADDED)},
        {"words": None, "tokenizer": fast(added_tokens=ADDED)},
    ],
    ids=["added_tokens.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.json alone"],
)  # fmt: skip
def test_added_tokens_follow_the_words(tmp_path, files):
    vocabulary = open_vocabulary(write(tmp_path, **files))
    assert vocabulary.words == (*WORDS, "[URL]", "[USER]")
    assert vocabulary.added == (AddedToken("[URL]", normalized=True), AddedToken("[USER]", normalized=True))


def test_special_tokens_that_are_words_already_are_kept_whole_too(tmp_path):
    vocabulary = open_vocabulary(write(tmp_path, special_tokens_map={"additional_special_tokens": ["film"]}))
    assert vocabulary.words == WORDS and vocabulary.added == (AddedToken("film"),)


def test_a_vocabulary_survives_writing(tmp_path):
    added = (AddedToken("[URL]"), AddedToken("e-mail", normalized=True, single_word=True))
    vocabulary = Vocabulary("x", (*WORDS, "[URL]", "e-mail"), False, True, added, "left")
    vocabulary.write(tmp_path, max_length=64)
    read = open_vocabulary(tmp_path)
    assert read == Vocabulary(
        str(tmp_path / "vocab.txt"), *(getattr(vocabulary, name) for name in list(vars(vocabulary))[1:6])
    )
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_tokenizer_json_says_how_texts_are_prepared(tmp_path):
    vocabulary = open_vocabulary(write(tmp_path, None, tokenizer=fast()))
    assert vocabulary.words == WORDS and not vocabulary.lower_case and not vocabulary.strip_accents
    lower = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}
    vocabulary = open_vocabulary(write(tmp_path, None, tokenizer=fast(normalizer=lower)))
    assert vocabulary.lower_case and vocabulary.strip_accents
    german = {"type": "BertNormalizer", "lowercase": True, "strip_accents": False}
    vocabulary = open_vocabulary(write(tmp_path, None, tokenizer=fast(normalizer=german)))
    assert vocabulary.lower_case and not vocabulary.strip_accents


def test_ids_may_be_text_and_no_normalizer_keeps_case(tmp_path):
    assert open_vocabulary(write(tmp_path, added_tokens={"[URL]": "8"})).words == (*WORDS, "[URL]")
    assert not open_vocabulary(write(tmp_path, tokenizer=fast(normalizer=None), added_tokens={})).lower_case


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"words": None}, r"vocab\.txt: no such vocabulary"),
        ({"words": None, "tokenizer": fast(model={"type": "BPE"})}, "a BPE tokenizer; a BERT has WordPiece"),
        ({"words": None, "tokenizer": fast(model={"type": "Unigram", "vocab": [["a", 0.0]]})}, "a Unigram tokenizer"),
        ({"words": None, "tokenizer": {"config": {}}}, 'has no "model"'),
        ({"words": None, "tokenizer": fast(pre_tokenizer={"type": "Whitespace"})}, "pre_tokenizer Whitespace"),
        ({"words": None, "tokenizer": fast(model={"continuing_subword_prefix": "@@"})}, "'@@'; only '##'"),
        ({"words": None, "tokenizer": fast(model={"vocab": {"[PAD]": 0, "a": 2}})}, "are not 0 to 1"),
        ({"words": None, "tokenizer": fast(words=("a", "b"))}, r"lacks \[PAD\]"),
        ({"tokenizer": fast(normalizer={"type": "NFKC"})}, "normalizer=NFKC, which is not supported"),
        ({"tokenizer_config": {"tokenize_chinese_chars": False}}, "tokenize_chinese_chars=False; only True"),
        ({"tokenizer_config": {"never_split": ["[X]"]}}, "never_split"),
        ({"tokenizer_config": {"do_lower_case": "False"}}, "do_lower_case='False': must be true or false"),
        ({"tokenizer_config": {"tokenizer_class": "BertJapaneseTokenizer"}}, "is a BertJapaneseTokenizer"),
        ({"tokenizer_config": {"word_tokenizer_type": "mecab"}}, "word_tokenizer_type=mecab; only basic"),
        ({"tokenizer_config": {"cls_token": "film"}}, "cls_token='film'; only '.CLS.' is supported"),
        ({"special_tokens_map": {"pad_token": {"content": "<pad>"}}}, "pad_token='<pad>'; only '.PAD.'"),
        ({"tokenizer": fast(model={"type": "BPE"})}, "a BPE tokenizer; a BERT has WordPiece"),
        ({"tokenizer": fast(words=WORDS[::-1])}, r"contradict each other: word 0 is '.PAD.' in one and '##s'"),
        ({"tokenizer": fast(model={"max_input_chars_per_word": 4})}, "max_input_chars_per_word=4; only 100"),
        ({"added_tokens": {"[URL]": "x"}}, r"the id of '\[URL\]' is 'x', not an integer"),
        ({"added_tokens": {"[URL]": 9}}, r"'\[URL\]' has the id 9, but the vocabulary has 8 words before it"),
        ({"added_tokens": {"[URL]": 6}}, r"'\[URL\]' has the id 6, but that is 'film'"),
    ],
)  # fmt: skip
def test_what_is_no_vocabulary_of_a_bert_is_refused_by_name(tmp_path, files, message):
    with pytest.raises(InputError, match=message) as refused:
        open_vocabulary(write(tmp_path, **files))
    assert str(tmp_path) in str(refused.value)
