"""MPNet's file and BERT's order of words are two forms of the same thing."""

import json

import pytest

from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.tokenizer_files import open_vocabulary
from tinybert_tf.word_order import bert_order, mpnet_order

WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"]


def test_there_and_back_is_the_same():
    words, rows = mpnet_order(WORDS)
    assert words == ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "<mask>"]
    again, back = bert_order(words)
    assert again == WORDS
    assert [rows[row] for row in back] == list(range(len(WORDS)))


def test_special_tokens_that_only_mpnet_has_get_bert_s_names_where_they_are():
    words, rows = bert_order(["<s>", "<pad>", "</s>", "<unk>", "the", "<mask>"])
    assert words == ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "the", "[MASK]"]
    assert rows == [0, 1, 2, 3, 4, 5]


def test_bert_s_own_file_stays_as_it_is():
    words = [*WORDS, "<s>", "</s>"]
    assert bert_order(words) == (words, list(range(len(words))))


def test_words_that_mpnet_cannot_hold_are_named():
    with pytest.raises(InputError, match="<mask>"):
        mpnet_order([*WORDS, "<mask>"])


def test_texts_become_the_same_ids_from_either_file(tmp_path):
    ids = []
    for name, words in {"bert": WORDS, "mpnet": mpnet_order(WORDS)[0]}.items():
        (tmp_path / name).write_text("".join(f"{word}\n" for word in words))
        ids.append(Tokenizer(tmp_path / name)(["the cat", "dog"], ["cat", "the"], seq_len=8))
    assert all((ids[0][name].numpy() == ids[1][name].numpy()).all() for name in ids[0])
    assert ids[0]["input_word_ids"].numpy()[0].tolist() == [3, 6, 7, 4, 7, 4, 0, 0]


def test_added_tokens_are_kept_whole_and_special_ones_are_none(tmp_path):
    words = [*mpnet_order(WORDS)[0], "[URL]"]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words[:-1]))
    decoder = {0: "<s>", 1: "<pad>", 6: "[UNK]", 12: "<mask>", 13: "[URL]"}
    decoder = {str(index): {"content": content, "special": True} for index, content in decoder.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    vocabulary = open_vocabulary(tmp_path)
    assert vocabulary.words == (*WORDS, "[URL]")
    assert [token.content for token in vocabulary.added] == ["[URL]"]
    assert vocabulary.file_words == tuple(words)
