import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.corpus.conftest import WORDS
from tinybert_tf.corpus import make_corpus, read_corpus, reader
from tinybert_tf.corpus.shards import read_records
from tinybert_tf.errors import InputError

SEQ_LEN = 32


def stored(corpus, split="train"):
    return np.concatenate([read_records(path, SEQ_LEN, np.dtype("<u2")) for path, _, _ in corpus.files(split)])


def collect(dataset):
    """Batches of tensors -> one list of arrays, one for each tensor, over all batches."""
    parts = [[np.asarray(tensor) for tensor in tf.nest.flatten(batch)] for batch in dataset]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def word_ids(dataset):
    return np.concatenate([batch["input_word_ids"].numpy() for batch in dataset])


def in_order(rows):
    return rows[np.lexsort(rows.T)]


@pytest.fixture
def several_windows(monkeypatch, corpus):
    monkeypatch.setattr(reader, "SHUFFLED_EXAMPLES", corpus.examples // 2)


def test_unshuffled_it_is_the_text_s_order_and_the_last_batch_is_filled_up(corpus):
    rows = stored(corpus)
    batch_size = 16
    missing = -len(rows) % batch_size
    assert missing
    dataset = corpus.batches(batch_size=batch_size)
    expected = np.pad(rows, [(0, missing), (0, 0)])
    np.testing.assert_array_equal(word_ids(dataset), expected)
    assert dataset.cardinality() == corpus.steps(batch_size) == len(expected) // batch_size
    for batch in dataset:
        assert sorted(batch) == ["input_mask", "input_type_ids", "input_word_ids"]
        assert all(column.shape == (batch_size, SEQ_LEN) and column.dtype == tf.int32 for column in batch.values())
    assert not any(np.asarray(column)[-missing:].any() for column in batch.values())


def test_mask_and_types_are_those_of_the_tokenizer(corpus, tokenizer):
    (batch,) = corpus.batches(batch_size=64).take(1)
    for ids, mask, types in zip(
        *(batch[f"input_{name}"].numpy() for name in ("word_ids", "mask", "type_ids")), strict=True
    ):
        words = [tokenizer.vocabulary[index] for index in ids]
        length = words.index("[PAD]") if "[PAD]" in words else SEQ_LEN
        first = words.index("[SEP]") + 1
        assert mask.tolist() == [1] * length + [0] * (SEQ_LEN - length)
        assert types.tolist() == [0] * first + [1] * (length - first) + [0] * (SEQ_LEN - length)
    assert batch["input_type_ids"].numpy().any()


def test_each_pass_has_every_example_once_in_another_order(corpus, several_windows):
    rows = stored(corpus)
    read = lambda seed: word_ids(corpus.batches(batch_size=32, shuffle_seed=seed, epochs=2))
    passes = read(3)[: 2 * len(rows)].reshape(2, *rows.shape)
    for one in passes:
        np.testing.assert_array_equal(in_order(one), in_order(rows))
    assert (passes[0] != passes[1]).any(axis=1).mean() > 0.9
    assert (passes[0] != rows).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(passes.reshape(-1, SEQ_LEN), read(3)[: 2 * len(rows)])
    assert (passes[0] != read(4)[: len(rows)]).any(axis=1).mean() > 0.9


def test_shuffling_mixes_files_and_holds_no_more_than_its_window(corpus, several_windows):
    sizes = [examples for _, examples, _ in corpus.files("train")]
    windows = list(reader._windows(np.array(sizes), np.random.default_rng(0)))
    assert sorted(file for window in windows for file in window) == list(range(len(sizes)))
    assert max(len(window) for window in windows) > 1
    limit = max(reader.SHUFFLED_EXAMPLES, *sizes)
    assert all(sum(sizes[file] for file in window) <= limit for window in windows)


@pytest.mark.parametrize("shuffle_seed", [None, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_first_batch_leaves_out_exactly_so_many(corpus, several_windows, shuffle_seed, masked):
    read = corpus.masked_batches if masked else corpus.batches
    reading = {"batch_size": 24, "shuffle_seed": shuffle_seed, "epochs": 2}
    whole = collect(read(**reading))
    steps = corpus.steps(24, 2)
    assert len(whole[0]) == steps * 24
    for first in (1, steps // 2 + 1, steps - 1):
        dataset = read(first_batch=first, **reading)
        assert dataset.cardinality() == steps - first
        for rest, column in zip(collect(dataset), whole, strict=True):
            np.testing.assert_array_equal(rest, column[first * 24 :])
    assert list(read(first_batch=steps, **reading)) == []


def test_batches_that_are_left_out_are_not_read(corpus, several_windows, monkeypatch):
    read = []
    monkeypatch.setattr(reader, "read_records", lambda path, *rest: read.append(path) or read_records(path, *rest))
    epochs = 50
    list(corpus.batches(batch_size=8, shuffle_seed=0, epochs=epochs, first_batch=corpus.steps(8, epochs) - 1))
    assert 0 < len(read) < len(corpus.files("train"))


def test_held_out_examples_are_others(corpus):
    held_out = word_ids(corpus.batches(batch_size=corpus.held_out_examples, held_out=True))
    assert len(held_out) == corpus.held_out_examples > 0
    np.testing.assert_array_equal(held_out, stored(corpus, "held_out"))
    training = {row.tobytes() for row in stored(corpus)}
    assert not any(row.astype(np.uint16).tobytes() in training for row in held_out)


@pytest.mark.parametrize("masking", ["token", "whole_word"])
def test_masked_batches_can_be_restored_and_differ_between_passes(corpus, masking):
    rows = stored(corpus)
    batches = corpus.masked_batches(batch_size=32, epochs=2, masking=masking)
    columns = [column[: 2 * len(rows)] for column in collect(batches)]
    mask, types, ids, positions, labels, weights = columns  # the features by name
    hidden = np.zeros(ids.shape, bool)
    for row, place, label, weight in zip(range(len(ids)), positions, labels, weights, strict=True):
        ids[row, place[weight > 0]] = label[weight > 0]
        hidden[row, place[weight > 0]] = True
    np.testing.assert_array_equal(ids, np.concatenate([rows, rows]))
    one, two = hidden.reshape(2, *rows.shape)
    assert (one != two).any(axis=1).mean() > 0.8
    assert hidden.sum() / (ids > 3).sum() == pytest.approx(0.15, abs=0.03)
    plain = collect(corpus.batches(batch_size=32))
    np.testing.assert_array_equal(mask[: len(rows)], plain[0][: len(rows)])
    np.testing.assert_array_equal(types[: len(rows)], plain[1][: len(rows)])


def test_what_is_masked_does_not_depend_on_the_batch_size(corpus):
    small = collect(corpus.masked_batches(batch_size=7, shuffle_seed=1))
    large = collect(corpus.masked_batches(batch_size=50, shuffle_seed=1))
    for one, two in zip(small, large, strict=True):
        np.testing.assert_array_equal(one[: corpus.examples], two[: corpus.examples])


def test_steps_count_the_last_batch(corpus):
    assert corpus.steps(corpus.examples, 1) == 1
    assert corpus.steps(corpus.examples - 1, 1) == 2
    assert corpus.steps(corpus.examples - 1, 3) == 4  # passes follow one another without a gap


def test_it_says_what_it_is(corpus, vocab_file):
    assert corpus.seq_len == SEQ_LEN
    assert corpus.vocab_file.read_bytes() == vocab_file.read_bytes()


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no corpus, manifest.json is missing; make one with bin/make_corpus.py"):
        read_corpus(tmp_path)


def test_files_that_are_missing_or_cut_short_are_refused_by_name(corpus, tmp_path):
    copy = shutil.copytree(corpus.directory, tmp_path / "copy")
    first, second = (Path(copy, Path(path).name) for path, _, _ in corpus.files("train")[:2])
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    said = rf"{second.name}: has {len(content) - 1} bytes, but .* {len(content)}; remove the directory and make"
    with pytest.raises(InputError, match=said):
        read_corpus(copy)
    first.unlink()
    with pytest.raises(InputError, match=rf"{first.name}: is missing"):
        read_corpus(copy)


def test_ids_of_a_large_vocabulary_are_read_back(settings, tmp_path):
    """More than 65,536 words do not fit in two bytes."""
    from tinybert_tf.corpus import make_corpus

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{'abcdefghij'[n % 10]}{n}x" for n in range(66_000)]
    (tmp_path / "large.txt").write_text("\n".join([*special, *words]) + "\n")
    (tmp_path / "text.txt").write_text(f"{words[0]} {words[-1]}\nwa0x\n")
    ours = settings(input=str(tmp_path / "text.txt"), vocab=str(tmp_path / "large.txt"), packing="contiguous")
    make_corpus(ours)
    (row,) = word_ids(read_corpus(ours.output_dir).batches(batch_size=1))
    assert row[:5].tolist() == [2, 5, 66_004, 5, 3]
    assert json.loads(Path(ours.output_dir, "manifest.json").read_text())["vocabulary"]["words"] == 66_005


def test_a_corpus_in_a_bucket_has_its_tokenizer(corpus):
    there = "ram://bucket/corpus"
    tf.io.gfile.makedirs(there)
    for path in Path(corpus.directory).iterdir():
        tf.io.gfile.copy(str(path), f"{there}/{path.name}", overwrite=True)
    found = read_corpus(there)
    assert found.tokenizer.spec.settings() == corpus.tokenizer.spec.settings()
    assert found.vocab_file.read_bytes() == corpus.vocab_file.read_bytes()
    assert found.tokenizer.vocabulary == corpus.tokenizer.vocabulary


def test_filling_rows_are_padding_whatever_the_ids_of_the_special_tokens_are(settings, tmp_path):
    """Rows of zeros would be rows of [CLS] here."""
    vocabulary = tmp_path / "turned" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("".join(f"{word}\n" for word in ("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]", *WORDS[5:])))
    make_corpus(settings("turned_corpus", vocab=str(vocabulary)))
    corpus = read_corpus(tmp_path / "turned_corpus")
    missing = -corpus.examples % 16
    assert missing
    *_, last = corpus.batches(batch_size=16)
    assert not last["input_mask"].numpy()[-missing:].any() and np.all(last["input_word_ids"][-missing:] == 3)
    *_, (features, _, weights) = corpus.masked_batches(batch_size=16)
    assert not features["input_mask"].numpy()[-missing:].any() and not weights.numpy()[-missing:].any()
