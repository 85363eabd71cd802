import numpy as np
import pytest

from tinybert_tf.augmentation import WordVectors, word_vectors
from tinybert_tf.augmentation.words import NUMBER, WORD, kind
from tinybert_tf.errors import InputError


def by_hand(path, word, count):
    """The nearest words of a GloVe file by cosine, from scratch."""
    lines = [line.split(" ") for line in path.read_text("utf-8").splitlines()]
    table = {name: np.array(numbers, np.float64) for name, *numbers in lines}
    own = table[word] / np.linalg.norm(table[word])
    others = [name for name in table if name != word and kind(name) == kind(word)]
    return sorted(others, key=lambda name: -(table[name] / np.linalg.norm(table[name])) @ own)[:count]


@pytest.mark.parametrize("block", [1, 200, 1 << 25])
def test_neighbors_are_those_of_brute_force_whatever_the_block(vectors_file, monkeypatch, block):
    monkeypatch.setattr(word_vectors, "_BLOCK", block)
    vectors = WordVectors.read(vectors_file)
    found = vectors.neighbors(vectors.words, 15)
    assert found == {word: by_hand(vectors_file, word, 15) for word in vectors.words if by_hand(vectors_file, word, 15)}
    assert len(found["sadly"]) == 15 and found["1998"] == ["1997"]


@pytest.mark.realdata
def test_neighbors_in_glove_are_those_of_brute_force(real_data):
    path = real_data / "glove" / "glove.6B.50d.txt"
    vectors = WordVectors.read(path)
    assert vectors.vectors.shape == (9163, 50)
    for word in ("film", "london", "quickly"):
        assert vectors.neighbors([word], 15)[word] == by_hand(path, word, 15)


def test_word2vecs_header_and_words_with_spaces_are_read(tmp_path, vectors_file):
    lines = vectors_file.read_text("utf-8").splitlines()
    path = tmp_path / "word2vec.txt"
    path.write_text("\n".join([f"{len(lines) + 1} 8", *(f"{line} " for line in lines), ". . . 1 2 3 4 5 6 7 8"]) + "\n")
    glove, word2vec = WordVectors.read(vectors_file), WordVectors.read(path)
    assert word2vec.words == [*glove.words, ". . ."]
    np.testing.assert_array_equal(word2vec.vectors[:-1], glove.vectors)
    np.testing.assert_allclose(np.linalg.norm(word2vec.vectors, axis=1), 1, rtol=1e-6)


def test_small_blocks_of_a_file_are_put_together(vectors_file, monkeypatch):
    whole = WordVectors.read(vectors_file)
    monkeypatch.setattr(word_vectors, "_READ_BYTES", 100)
    np.testing.assert_array_equal(WordVectors.read(vectors_file).vectors, whole.vectors)


def test_a_word_is_found_in_lower_case_and_without_accents(vectors_file):
    vectors = WordVectors.read(vectors_file)
    found = vectors.neighbors(["Caf\u00e9", "cafe", "SADLY", "sadly", "nowhere", "new york"], 5)
    assert found["Caf\u00e9"] == found["cafe"] and found["SADLY"] == found["sadly"]
    assert found.keys() == {"Caf\u00e9", "cafe", "SADLY", "sadly"}


def test_the_word_itself_is_a_neighbour_only_when_asked_for_and_case_variants_count_once():
    words = ["Film", "film", "movie", "Movie", "book", "7", "new_york"]
    table = np.array([[1, 0], [1, 0.01], [1, 0.1], [1, 0.11], [0, 1], [1, 0], [1, 0]], np.float32)
    vectors = WordVectors(words, table)
    assert vectors.neighbors(["film"], 5) == {"film": ["movie", "book"]}
    assert vectors.neighbors(["film"], 5, same_word=True) == {"film": ["film", "movie", "book"]}
    assert {kind(word) for word in words} >= {WORD, NUMBER}


def test_words_whose_vector_is_zero_and_equal_ones_have_an_order():
    words = [f"w{'x' * number}" for number in range(200)]
    vectors = WordVectors(words, np.concatenate([np.zeros((1, 4)), np.ones((199, 4))]).astype(np.float32))
    assert vectors.neighbors([words[5]], 3)[words[5]] == words[1:4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: 0 columns"),
        (b"film\n", "line 1: 1 columns"),
        (b"2 3\n", "no vectors"),
        (b"film 1 2 3\nbook 1 2\n", "line 2: "),
        (b"film 1 2 3\nbook 1 x 3\n", "line 2: not a word and 3 numbers"),
        (b"film 1 2 3\nbook 1 nan 3\n", "line 2: 3 finite numbers"),
        (b"film 1 2 3\nb\xffk 1 2 3\n", "line 2: not UTF-8"),
        (b"film 1 2 3\n\nbook 1 2 3\n", "line 2: "),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, content, message):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        WordVectors.read(path)
    assert "vectors.txt" in str(refused.value)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="no such file; give a text file of GloVe .*word_vectors=none"):
        WordVectors.read(tmp_path / "glove.txt")
