"""Coding a word table."""

import doctest

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.quantization import quantized
from tinybert_tf.prune import codes as module
from tinybert_tf.prune import vocabulary as vocabulary_module
from tinybert_tf.prune.codes import CENTROIDS, check_codes, code_table, count_tokens
from tinybert_tf.prune.prune import prune


@pytest.fixture(scope="module")
def table():
    """Rows of very different columns, as those of a BERT."""
    random = np.random.default_rng(0)
    return (random.normal(size=(800, 8)) * random.uniform(0.1, 5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(1).permutation(800).astype(float)


@pytest.fixture(scope="module")
def coded(table, counts):
    return code_table(table, counts, whole=200)


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(module).failed == 0


def test_the_most_frequent_rows_stay_whole(table, counts, coded):
    frequent = np.argsort(-counts)[:200]
    integers, scales = quantized(table[frequent], 4, 1, counts=counts[frequent])
    np.testing.assert_allclose(coded.table()[frequent], integers * scales, rtol=1e-6)
    assert (coded.places[frequent] > 0).all() and (coded.places > 0).sum() == 200


def test_errors_are_turned_away_from_what_the_answers_depend_on(table, counts, coded):
    causes = np.random.default_rng(2).normal(size=(300, 2)) @ np.random.default_rng(3).normal(size=(2, 8))
    sensitivity = causes.T @ causes / 300 + 0.05 * np.eye(8)
    weighted = code_table(table, counts, whole=200, sensitivity=sensitivity)

    def cost(codes, rows):
        errors = (codes.table() - table)[rows]
        return np.einsum("nd,de,ne->", errors, sensitivity, errors)

    frequent = np.argsort(-counts)[:200]
    for rows in (frequent, np.argsort(-counts)[200:]):
        assert cost(weighted, rows) < 0.7 * cost(coded, rows)


def test_each_group_of_a_coded_row_is_its_nearest_vector(table, counts, coded):
    """Distances are those of columns of equal spread; rounding the vectors to 8 bits may move a few to another one."""
    rare = np.argsort(-counts)[200:]
    spread = table[rare].std(axis=0)
    groups, _, width = coded.codebooks.shape
    assert (groups, width) == (2, 4)
    nearest = []
    for group in range(groups):
        columns = slice(group * width, (group + 1) * width)
        vectors = coded.codebooks[group, 1:] * coded.codebook_scales[columns] / spread[columns]
        points = table[rare][:, columns] / spread[columns]
        distances = np.square(points[:, None] - vectors[None]).sum(axis=-1)
        chosen = coded.codes[-coded.places[rare], group] - 1
        excess = distances[np.arange(len(rare)), chosen] - distances.min(axis=1)
        nearest.append(excess < 0.02)
    assert np.mean(nearest) > 0.95


def test_frequent_words_are_nearer_among_the_coded_ones(table):
    skewed = np.where(np.arange(800) % 2, 100.0, 1.0)
    found = code_table(table, skewed, whole=1)
    error = np.square((found.table() - table) / table.std(axis=0)).mean(axis=1)
    assert error[1::2].mean() < 0.5 * error[::2].mean()


def test_a_column_of_zeros_stays_zero(table, counts):
    flat = table.copy()
    flat[:, 3] = 0
    assert not code_table(flat, counts, whole=100).table()[:, 3].any()


def test_a_constant_column_keeps_its_value(table, counts):
    flat = table.copy()
    flat[:, 3] = 5
    np.testing.assert_allclose(code_table(flat, counts, whole=100).table()[:, 3], 5, rtol=0.01)


def test_rows_that_are_equal_share_their_codes(counts, recwarn):
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    table = rows[np.arange(800) % 40]
    found = code_table(table, counts, whole=100)
    np.testing.assert_allclose(found.table()[found.places < 0], table[found.places < 0], atol=0.03)
    assert not len(recwarn)


@pytest.mark.parametrize(
    ("words", "width", "whole", "said"),
    [
        (800, 8, 800 - CENTROIDS, "must be between 1 and 544: of 800 rows more than 255 have to be left"),
        (800, 8, 900, "must be between 1 and 544"),
        (800, 8, 0, "must be between 1 and 544"),
        (200, 8, 100, "the vocabulary of 200 is too small for codes of 255 vectors"),
        (800, 14, 100, "rows are 14 wide, which has no divisor from 3 to 6"),
    ],
)
def test_what_cannot_be_coded_is_refused(words, width, whole, said):
    with pytest.raises(InputError, match=f"whole_rows={whole}: {said}"):
        code_table(np.ones((words, width), np.float32), np.ones(words), whole)


def test_the_most_rows_that_can_stay_whole(table, counts):
    check_codes(800, 8, 544)
    assert code_table(table, counts, 544).places.min() == -(CENTROIDS + 1)


@pytest.mark.parametrize("at_a_time", [2, 7, 4096])
def test_all_texts_are_counted(model_dir, monkeypatch, at_a_time):
    """Whatever number of texts is tokenized at a time."""
    monkeypatch.setattr(module, "_TEXTS_AT_A_TIME", at_a_time)
    monkeypatch.setattr(vocabulary_module, "_TEXTS_AT_A_TIME", at_a_time)
    tokenizer = Tokenizer.from_directory(model_dir())
    texts = list("abcdefg")
    counts = count_tokens(texts, tokenizer)
    assert [counts[tokenizer.vocabulary.index(letter)] for letter in texts] == [1] * 7
    assert vocabulary_module.count_words(texts, tokenizer).words == dict.fromkeys(texts, 1)


def test_special_tokens_count_as_the_most_frequent_word(model_dir, texts):
    tokenizer = Tokenizer.from_directory(model_dir())
    counts = count_tokens([*texts, ("a b", "a")], tokenizer)
    ids = tokenizer.tokenize([*texts, "a b", "a"]).flat_values.numpy()
    expected = np.bincount(ids, minlength=len(counts))
    special = [tokenizer.vocabulary.index(word) for word in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")]
    assert (counts[special] == expected.max()).all()
    others = np.setdiff1d(np.flatnonzero(expected), special)
    np.testing.assert_array_equal(counts[others], expected[others])


def test_entries_without_a_use_are_the_last_of_those_that_no_text_has(model_dir, vocabulary):
    """BERT's vocabulary lists 994 of them, and a thousand characters, before its first word."""
    words = [*vocabulary, "[unused1]", "早", "##早", "common", "##mon", "film"]
    counts = dict(zip(words, count_tokens(["film"], Tokenizer.from_directory(model_dir(words=words))), strict=True))
    assert not any(counts[word] for word in ("[unused0]", "[unused1]", "早", "##早"))
    assert counts["film"] == counts["[CLS]"] == 1
    assert 1 > counts["common"] > counts["##mon"] > 0


def test_characters_count_as_words_where_texts_are_made_of_them(model_dir, vocabulary):
    """As Chinese is in BERT's vocabulary."""
    words = [*vocabulary, "早", "安", "common"]
    tokenizer = Tokenizer.from_directory(model_dir(words=words))
    counts = dict(zip(words, count_tokens(["早 早 早"], tokenizer), strict=True))
    assert counts["早"] == 3 and 1 > counts["安"] > counts["common"] > 0
    assert counts["[unused0]"] == 0


@pytest.mark.slow
def test_a_pruned_directory_has_coded_words_and_is_not_pruned_again(model_dir, vocabulary, texts, tmp_path):
    # 255 vectors need more rows than the small vocabulary has.
    words = [*vocabulary, *(f"word{number}" for number in range(500))]
    source = model_dir(words=words)
    report = prune(source, tmp_path / "coded", texts, whole_rows=300, intermediate_size=16, seq_len=16)
    model = load_model(tmp_path / "coded")
    assert model.config.intermediate_size == 16 and (model.word_codes.places > 0).sum() == 300
    assert report.vocab_size == len(words)
    before = load_model(source).embeddings.word_embeddings.embeddings.numpy()
    error = np.abs(model.embeddings.word_embeddings.embeddings.numpy() - before).mean()
    assert 0 < error < 0.5 * np.abs(before).mean()
    with pytest.raises(InputError, match=r"coded: its words are coded already; prune the model that it was made from"):
        prune(tmp_path / "coded", tmp_path / "again", texts, intermediate_size=8)
    assert not (tmp_path / "again").exists()


def test_whole_rows_that_cannot_be_are_refused(model_dir, texts, tmp_path):
    source = model_dir()
    with pytest.raises(InputError, match=r"whole_rows=900: must be between 1 and"):
        prune(source, tmp_path / "again", texts, whole_rows=900, intermediate_size=8)
    with pytest.raises(InputError, match="whole_rows=300: is not chosen with a target"):
        prune(source, tmp_path / "again", texts, whole_rows=300, target_mb=5)
    assert not (tmp_path / "again").exists()
