import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError


def test_a_sentence_becomes_the_three_inputs(tokenizer):
    inputs = tokenizer(["The film was badly"], seq_len=8)
    np.testing.assert_array_equal(inputs["input_word_ids"], [[2, 5, 6, 7, 9, 11, 3, 0]])
    np.testing.assert_array_equal(inputs["input_mask"], [[1, 1, 1, 1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(inputs["input_type_ids"], np.zeros((1, 8)))


def test_a_pair_marks_its_second_half(tokenizer):
    inputs = tokenizer(["the film"], ["was good"], seq_len=8)
    np.testing.assert_array_equal(inputs["input_word_ids"], [[2, 5, 6, 3, 7, 8, 3, 0]])
    np.testing.assert_array_equal(inputs["input_type_ids"], [[0, 0, 0, 0, 1, 1, 1, 0]])


def test_the_longer_side_of_a_pair_is_cut_first(tokenizer):
    ids, types = tokenizer.encode(["the film was good bad not"], ["a ."], seq_len=7)
    np.testing.assert_array_equal(ids.to_tensor(), [[2, 5, 6, 3, 12, 13, 3]])
    np.testing.assert_array_equal(types.to_tensor(), [[0, 0, 0, 0, 1, 1, 1]])


def test_empty_texts_accents_emoji_and_chinese_characters(tokenizer):
    ids, _ = tokenizer.encode(["", "Café", "\U0001f600", "好film"], seq_len=8)
    assert ids.to_list() == [[2, 3], [2, 15, 3], [2, 1, 3], [2, 1, 6, 3]]


def test_it_works_inside_a_graph(tokenizer):
    dataset = (
        tf.data.Dataset.from_tensor_slices(["the film", "bad"]).batch(2).map(lambda text: tokenizer(text, seq_len=5))
    )
    np.testing.assert_array_equal(next(iter(dataset))["input_word_ids"], [[2, 5, 6, 3, 0], [2, 9, 3, 0, 0]])


@pytest.mark.realdata
def test_it_cuts_words_as_another_implementation_does(real_data):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = str(real_data / "vocab.txt")
    reference = tokenizers.BertWordPieceTokenizer(vocab, lowercase=True)
    lines = (real_data / "glue" / "SST-2" / "dev.tsv").read_text("utf-8").splitlines()[1:]
    texts = [line.split("\t")[0] for line in lines] + ["Naïve café, 東京!", "anticonstitutionally 1,234.5"]
    ours, _ = Tokenizer(vocab).encode(texts, seq_len=512)
    assert ours.to_list() == [reference.encode(text).ids for text in texts]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]"], r"lacks \[MASK\]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "a"], "line 8: the word 'a'"),
        ([], "lacks"),
    ],
)
def test_a_vocabulary_that_cannot_serve_is_refused(tmp_path, words, message):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Tokenizer(path)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(InputError, match=r"vocab\.txt: no such vocabulary"):
        Tokenizer.from_directory(tmp_path)
