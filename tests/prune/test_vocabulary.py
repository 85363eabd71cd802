"""Which word pieces are kept, and what a network with fewer of them computes."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer, task_from_lists
from tinybert_tf.errors import InputError
from tinybert_tf.prune import choose_words, count_words, coverage, prune
from tinybert_tf.prune.texts import with_held_out
from tinybert_tf.prune.vocabulary import indispensable, split_word

LETTERS = "abcdefg"
SPECIAL = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def pieces_of(tokenizer, texts):
    pieces = tokenizer.tokenize(texts).to_list()
    return [[tokenizer.vocabulary[piece] for piece in row] for row in pieces]


def test_words_are_split_as_the_tokenizer_splits_them(model_dir, texts):
    tokenizer = Tokenizer.from_directory(model_dir())
    counts = count_words(texts, tokenizer)
    expected = [word for text in texts for word in text.split()]
    assert sum(counts.words.values()) == len(expected) and set(counts.words) == set(expected)
    for row, text in zip(pieces_of(tokenizer, texts), texts, strict=True):
        assert row == [piece for word in text.split() for piece in split_word(word, set(tokenizer.vocabulary))]


def test_words_that_become_unknown_are_counted(model_dir):
    counts = count_words(["abc xyz abc", "é zz"], Tokenizer.from_directory(model_dir()))
    assert dict(counts.words) == {"abc": 2, "e": 1}
    assert counts.unknown == 2


def test_texts_without_a_token_have_no_words(model_dir):
    """A zero-width space is none to `str.strip`, and the tokenizer removes it."""
    assert not count_words(["", "\u200b"], Tokenizer.from_directory(model_dir())).words


@pytest.mark.parametrize("size", [25, 60, 150])
def test_nothing_becomes_unknown_that_was_not(model_dir, texts, size, tmp_path):
    prune(model_dir(), tmp_path / "small", texts, vocab_size=size)
    tokenizer = Tokenizer.from_directory(tmp_path / "small")
    assert tokenizer.vocab_size == size
    words = np.random.default_rng(1).choice(list(LETTERS), (200, 6))
    assert not any(tokenizer.unk_id in row for row in tokenizer.tokenize(["".join(word) for word in words]).to_list())


def test_special_tokens_and_characters_are_kept_and_the_order_stays(vocabulary, model_dir, texts):
    counts = count_words(texts, Tokenizer.from_directory(model_dir()))
    kept = [vocabulary[index] for index in choose_words(vocabulary, counts, 60)]
    assert {*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)} <= set(kept)
    assert "[unused0]" not in kept
    assert kept == sorted(kept, key=vocabulary.index)


def test_added_tokens_are_kept(vocabulary, texts, model_dir):
    vocabulary = [*vocabulary, "[URL]"]
    counts = count_words(texts, Tokenizer.from_directory(model_dir()))
    assert len(vocabulary) - 1 in choose_words(vocabulary, counts, 40, added=("[URL]",))


def test_an_entry_that_nothing_else_can_spell_is_kept():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "film", "aa", "##aa", "##xa"]
    assert indispensable(vocabulary) == {*SPECIAL, "a", "##a", "film", "##xa"}


def test_the_entry_that_saves_most_pieces_is_kept_and_not_the_most_frequent_one(model_dir):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), "ab", "cdefg"]
    counts = count_words(["ab"] * 100 + ["cdefg"] * 60, Tokenizer.from_directory(model_dir(words=vocabulary)))
    kept = choose_words(vocabulary, counts, len(vocabulary) - 1)
    assert vocabulary.index("cdefg") in kept
    assert coverage(vocabulary, kept, counts).pieces_per_word_after == (100 * 2 + 60) / 160


def test_coverage_is_that_of_the_two_tokenizers(model_dir, texts, tmp_path):
    folder = model_dir()
    report = prune(folder, tmp_path / "small", texts, held_out=[*texts[:50], "zz a"], vocab_size=60)
    words = sum(len(text.split()) for text in texts[:50]) + 2
    assert report.coverage.words == words
    for when, directory in (("before", folder), ("after", tmp_path / "small")):
        pieces = sum(map(len, pieces_of(Tokenizer.from_directory(directory), [*texts[:50], "zz a"])))
        assert getattr(report.coverage, f"pieces_per_word_{when}") == pytest.approx(pieces / words, abs=1e-4)
        assert getattr(report.coverage, f"unknown_{when}") == pytest.approx(1 / words, abs=1e-6)


@pytest.mark.parametrize("head", ["classification", "masked_lm"])
def test_words_that_are_kept_compute_what_they_did(model_dir, texts, head, tmp_path):
    folder = model_dir(head=head)
    prune(folder, tmp_path / "small", texts, vocab_size=100)
    before, after = Tokenizer.from_directory(folder), Tokenizer.from_directory(tmp_path / "small")
    features = after(texts[:20], seq_len=16)
    old_ids = np.array([before.vocabulary.index(word) for word in after.vocabulary])
    features = {name: value.numpy() for name, value in features.items()}
    same = features | {"input_word_ids": old_ids[features["input_word_ids"]].astype(np.int32)}
    expected, found = load_model(folder)(same)["logits"], load_model(tmp_path / "small")(features)["logits"]
    expected = np.asarray(expected)[..., old_ids] if head == "masked_lm" else np.asarray(expected)
    assert np.abs(expected - np.asarray(found)).max() < 1e-5


def test_a_teacher_is_cut_in_the_same_way(model_dir, texts, tmp_path):
    student, teacher = model_dir("student"), model_dir("teacher", hidden_size=24, num_attention_heads=6)
    report = prune(student, tmp_path / "small", texts, teacher=teacher, vocab_size=70)
    assert report.teacher == str(tmp_path / "small" / "teacher")
    words = [Tokenizer.from_directory(folder).vocabulary for folder in (report.model, report.teacher)]
    assert words[0] == words[1] and len(words[0]) == 70
    assert load_model(report.teacher).config.hidden_size == 24


def test_positions_are_cut(vocabulary, model_dir, texts, tmp_path):
    folder = model_dir()
    report = prune(folder, tmp_path / "small", texts, max_position_embeddings=16)
    assert report.coverage is None and report.vocab_size == len(vocabulary)
    model = load_model(tmp_path / "small")
    assert model.config.max_position_embeddings == 16
    features = Tokenizer.from_directory(folder)(texts[:20], seq_len=16)
    assert np.allclose(model(features)["logits"], load_model(folder)(features)["logits"], atol=1e-6)


def test_projections_beside_a_student_go_along(model_dir, texts, tmp_path):
    from tinybert_tf.checkpoints import read_projections, write_projections

    folder = model_dir()
    projection = (np.ones((16, 20), np.float32), np.zeros(20, np.float32))
    states = load_model(folder).config.num_hidden_layers + 1
    write_projections(dict.fromkeys(range(states), projection), folder)
    prune(folder, tmp_path / "small", texts, vocab_size=70)
    assert read_projections(tmp_path / "small", states)[0][0].shape == (16, 20)


@pytest.mark.parametrize(
    ("size", "said"),
    [(18, "the special tokens and single characters alone are 19 entries"), (1000, "the model has 320")],
)
def test_a_size_that_cannot_be_is_refused(model_dir, texts, size, said, tmp_path):
    with pytest.raises(InputError, match=f"vocab_size={size}: {said}"):
        prune(model_dir(), tmp_path / "small", texts, vocab_size=size)
    assert not (tmp_path / "small").exists()


def test_a_teacher_with_another_vocabulary_is_refused(vocabulary, model_dir, texts, tmp_path):
    words = list(vocabulary)
    words[10], words[11] = words[11], words[10]
    with pytest.raises(InputError, match=r"differ from line 11 on \('e', 'f'\)"):
        prune(model_dir(), tmp_path / "small", texts, teacher=model_dir("teacher", words=words), vocab_size=70)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "nothing to prune"),
        ({"max_position_embeddings": 0}, "max_position_embeddings=0: must be at least 1"),
        ({"max_position_embeddings": 48}, "max_position_embeddings=48: the model has 24"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(model_dir, texts, changes, said, tmp_path):
    with pytest.raises(InputError, match=said):
        prune(model_dir(), tmp_path / "small", texts, **changes)


def test_no_text_and_texts_that_end_are_refused(model_dir, texts, tmp_path):
    for given, said in (([], "there is no text"), (iter(texts), "can be read only once")):
        with pytest.raises(InputError, match=said):
            prune(model_dir(f"model{len(said)}"), tmp_path / "small", given, vocab_size=70)


def test_what_would_be_read_as_its_names_is_no_text(model_dir, texts, tmp_path):
    folder = model_dir()
    for given, said in (({"text": texts}, "texts is a dict; give a list of texts"), ("a b", "texts is one text")):
        with pytest.raises(InputError, match=said):
            prune(folder, tmp_path / "small", given, vocab_size=70)
    with pytest.raises(InputError, match="held_out is a dict; give a list of texts"):
        prune(folder, tmp_path / "small", texts, held_out={"text": texts}, vocab_size=70)


def test_of_examples_the_texts_are_taken(model_dir, texts, tmp_path):
    folder, labels = model_dir(), ["a", "b"] * (len(texts) // 2)
    task = task_from_lists(texts, labels)
    sizes = {"vocab_size": 70, "intermediate_size": 16}
    expected = prune(folder, tmp_path / "of_texts", texts, held_out=texts[:9], **sizes)
    found = prune(folder, tmp_path / "of_examples", task.train, held_out=task.train.limit(9), **sizes)
    assert found.coverage == expected.coverage
    weights = [load_model(report.model).get_weights() for report in (found, expected)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    pairs = task_from_lists(texts, labels, texts[::-1])
    assert list(with_held_out(pairs.train, pairs.train)[1]) == list(zip(texts, texts[::-1], strict=True))


def test_a_directory_that_is_no_model_and_the_model_itself_are_not_replaced(model_dir, texts, tmp_path):
    folder = model_dir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    for output in (folder, tmp_path, tmp_path / "notes"):
        with pytest.raises(InputError, match="another directory|not replaced"):
            prune(folder, output, texts, vocab_size=70)
