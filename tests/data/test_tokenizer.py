import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.data import Tokenizer
from tinybert_tf.data.tokenizer import without_autograph
from tinybert_tf.errors import InputError
from tinybert_tf.tokenizer_files import read_vocabulary
from tinybert_tf.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary


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


def test_a_pair_for_each_text_or_an_error(tokenizer):
    """TensorFlow Text reads memory that is not its own where the numbers of rows differ."""
    texts, pairs = ["the film", "bad", "good"], ["a"]
    for first, second in ((texts, pairs), (pairs, texts)):
        message = f"text_pairs has {len(second)} texts, but `texts` has {len(first)}; give each text its own"
        with pytest.raises(InputError, match=message):
            tokenizer(first, second, seq_len=8)
        with pytest.raises(InputError, match=message):
            tf.data.Dataset.from_tensors((first, second)).map(without_autograph(tokenizer))
        unknown = tf.data.Dataset.from_generator(
            lambda: [(first, second)],  # noqa: B023
            output_signature=(tf.TensorSpec(None, tf.string), tf.TensorSpec([None], tf.string)),
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match="text_pairs: there must be one for each of `texts`"):
            list(unknown.map(lambda *pair: tokenizer(*pair, seq_len=8)))
    both = tf.data.Dataset.from_tensors((texts, texts)).batch(1).unbatch()
    (found,) = both.map(lambda *pair: tokenizer(*pair, seq_len=8)["input_word_ids"])
    np.testing.assert_array_equal(found, tokenizer(texts, texts, seq_len=8)["input_word_ids"])


@pytest.mark.parametrize(
    ("texts", "pairs", "seq_len", "message"),
    [
        ("good film", None, 8, "texts is one text; give a list of texts"),
        (["a"], "good film", 8, "text_pairs is one text; give a list of texts"),
        ([["a", "b"]], None, 8, "texts has 2 dimensions; give a list of texts"),
        (["a", None], None, 8, "texts must be a list or an array of strings"),
        ([1, 2], None, 8, "texts must be a list or an array of strings"),
        (["a"], None, 1, "seq_len=1: must be an integer of at least 2"),
        (["a"], ["b"], 2, "seq_len=2: must be an integer of at least 3"),
        (["a"], None, "8", "seq_len='8': must be an integer"),
    ],
)
def test_what_is_no_list_of_texts_or_no_length_is_refused(tokenizer, texts, pairs, seq_len, message):
    with pytest.raises(InputError, match=message) as caught:
        tokenizer(texts, pairs, seq_len=seq_len)
    assert "\n" not in str(caught.value)


def test_the_shortest_lengths_and_no_text(tokenizer):
    assert tokenizer.encode(["film"], seq_len=2)[0].to_list() == [[2, 3]]
    assert tokenizer.encode(["film"], ["bad"], seq_len=3)[0].to_list() == [[2, 3, 3]]
    assert tokenizer(["film"], seq_len=np.int64(4))["input_word_ids"].shape == (1, 4)
    assert tokenizer([], seq_len=8)["input_mask"].shape == tokenizer([], [], seq_len=8)["input_mask"].shape == (0, 8)


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
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "a"], "line 8: duplicate entry 'a'"),
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


LETTERS = "abcstxyzéüßçñøåíABCSTXYZÉÜÇİбвгёйіїБВЁЙΣσςάあ東京都語好नมस्ไ한"
WORDS = [*LETTERS, *unicodedata.normalize("NFD", "éüçñåíёйά"), "e", "u", "n", "i"]
WORDS = list(
    dict.fromkeys([*SPECIAL_TOKENS, *WORDS, *(f"##{letter}" for letter in WORDS), "[URL]", "[URL]x", "tax", "café"])
)
TEXTS = (
    "",
    "Tax ÉTÉ ñ, straße! 東京都",
    "Ёй йЁ вБ",
    "ΣάΣ ας İ",
    "नมस्ไ 한",
    "[URL]",
    "see [URL][URL]xa taxes TAX[URL]",
    "x [url] café. tab",
)


@pytest.mark.parametrize(("lower_case", "strip_accents"), [(True, False), (False, True), (False, False), (True, True)])
def test_accents_and_case_are_treated_as_in_the_tokenizers_package(lower_case, strip_accents):
    """Accents, CJK, Cyrillic; with tokens that are kept whole, and where in the text each piece is."""
    tokenizers = pytest.importorskip("tokenizers")
    ids = {word: index for index, word in enumerate(WORDS)}
    reference = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case, strip_accents=strip_accents)
    reference.add_special_tokens(["[URL]", "[URL]x"])
    reference.add_tokens([tokenizers.AddedToken("tax", normalized=True)])
    reference.add_tokens([tokenizers.AddedToken("café", normalized=False, single_word=True)])
    added = (AddedToken("[URL]"), AddedToken("[URL]x"), AddedToken("tax", True), AddedToken("café", single_word=True))
    tokenizer = Tokenizer(Vocabulary("vocab.txt", tuple(WORDS), lower_case, strip_accents, added))
    # TensorFlow Text folds case where it also strips accents: ß is ss, and a final sigma is like any other.
    texts = [text for text in TEXTS if "[URL]" in text] if lower_case and strip_accents else TEXTS
    pieces, begins, ends = tokenizer.tokenize_with_offsets(texts)
    expected = [reference.encode(text, add_special_tokens=False) for text in texts]
    assert pieces.to_list() == [encoding.ids for encoding in expected]
    assert tokenizer.tokenize(texts).to_list() == pieces.to_list()
    for text, begin, end, encoding in zip(texts, begins.to_list(), ends.to_list(), expected, strict=True):
        places = [tuple(len(text.encode()[:byte].decode()) for byte in span) for span in zip(begin, end, strict=True)]
        assert places == encoding.offsets


@pytest.mark.parametrize("text", ["u\u017fer", "USER", "\u212ailo", "\u03c3\u03c2"])
def test_added_tokens_are_found_by_what_case_folding_equates(text):
    """The long s, the Kelvin sign and the final sigma are no lower-case letters of those that they stand for."""
    added = (AddedToken("[LONGER]"), *(AddedToken(word, normalized=True) for word in ("user", "kilo", "\u03c3\u03c3")))
    words = (*WORDS, *(token.content for token in added))
    tokenizer = Tokenizer(Vocabulary("vocab.txt", words, True, True, added))
    (found,) = tokenizer.tokenize([text]).to_list()
    assert [words[piece] for piece in found] == [{"u": "user", "k": "kilo"}.get(text[0].lower(), "\u03c3\u03c3")]


def test_added_tokens_stay_whole_in_a_graph_and_in_encoded_pairs():
    tokenizer = Tokenizer(Vocabulary("vocab.txt", tuple(WORDS), True, True, (AddedToken("[URL]"),)))
    url, a, b = (tokenizer.vocabulary.index(word) for word in ("[URL]", "a", "b"))
    dataset = tf.data.Dataset.from_tensor_slices(["a [URL]b", "[URL]"]).batch(2)
    inputs = next(iter(dataset.map(lambda text: tokenizer(text, text, seq_len=9))))
    np.testing.assert_array_equal(inputs["input_word_ids"][0], [2, a, url, b, 3, a, url, b, 3])
    np.testing.assert_array_equal(inputs["input_word_ids"][1], [2, url, 3, url, 3, 0, 0, 0, 0])


def test_texts_can_lose_their_beginning(vocab_file):
    tokenizer = Tokenizer(read_vocabulary(vocab_file).with_truncation("left"))
    ids, _ = tokenizer.encode(["the film was good", "bad"], seq_len=5)
    assert ids.to_list() == [[2, 6, 7, 8, 3], [2, 9, 3]]
    ids, types = tokenizer.encode(["the film was good bad not", "a"], ["a .", "the film was"], seq_len=7)
    assert ids.to_list() == [[2, 9, 10, 3, 12, 13, 3], [2, 12, 3, 5, 6, 7, 3]]
    assert types.to_list() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]]
    with pytest.raises(InputError, match="truncate=middle: must be right or left"):
        read_vocabulary(vocab_file).with_truncation("middle")


def test_bert_s_normalization_keeps_how_a_vocabulary_treats_accents():
    german = Vocabulary("hand", SPECIAL_TOKENS, strip_accents=False)
    assert german.with_normalization("bert") == german
    assert german.with_normalization("mediapipe").with_normalization("bert").strip_accents


@pytest.mark.parametrize("name", ["bert", "mediapipe"])
def test_a_text_goes_on_behind_u0000(name):
    words = (*SPECIAL_TOKENS, "good", "bad", "go", "od")
    for strip_accents in (True, False):
        vocabulary = Vocabulary("hand", words, strip_accents=strip_accents).with_normalization(name)
        pieces, begins, ends = Tokenizer(vocabulary).tokenize_with_offsets(["go\0od bad", "good"])
        found = [words[index] for index in pieces[0].numpy()]
        assert found == (["[UNK]", "bad"] if name == "mediapipe" else ["go", "od", "bad"])
        assert (begins[0].numpy()[-1], ends[0].numpy()[-1]) == (6, 9) and pieces[1].numpy().tolist() == [
            words.index("good")
        ]
