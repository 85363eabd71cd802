"""Rows are tokenized once, and come from any batch on without the batches before it."""

import numpy as np
import pytest

from tinybert_tf.data import Split, batches, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.split import Example
from tinybert_tf.data.token_shards import open_shards
from tinybert_tf.errors import InputError

IDS = {"0": 0, "1": 1}


@pytest.fixture
def data(sst2_dir):
    return load_task("sst2", sst2_dir)


@pytest.fixture
def shards(data, tokenizer, tmp_path):
    return open_shards(tmp_path / "shards", data.train, tokenizer, data.task, 64, IDS)


def contents(dataset) -> list[tuple]:
    """What each row holds without its padding, sorted."""
    rows = []
    for features, label, weight in dataset.as_numpy_iterator():
        for place in range(len(label)):
            mask = features["input_mask"][place].astype(bool)
            tokens = (tuple(features[name][place][mask].tolist()) for name in ("input_word_ids", "input_type_ids"))
            per_row = (np.asarray(values[place])[mask if values.ndim == 2 else ...] for values in (label, weight))
            if np.any(weight[place]):
                rows.append((*tokens, *(tuple(np.ravel(values).tolist()) for values in per_row)))
            else:
                assert not mask.any()
    return sorted(rows)


def test_shards_hold_what_batches_tokenize(data, tokenizer, shards):
    expected = batches(data.train, tokenizer, data.task, batch_size=4)
    assert contents(shards.batches(4)) == contents(expected)
    shapes = [batch[0]["input_word_ids"].shape for batch in shards.batches(4)]
    assert shapes == [batch[0]["input_word_ids"].shape for batch in expected]


def test_shards_hold_pairs_and_scores(tokenizer, tmp_path):
    rows = [Example(n, "the film " * (1 + n), "was good ." * (1 + n % 3), str(n / 2)) for n in range(7)]
    split = Split("train", "rows", lambda: iter(rows))
    task = load_task("stsb", tmp_path).task
    shards = open_shards(tmp_path / "shards", split, tokenizer, task, 16, {})
    assert contents(shards.batches(3)) == contents(batches(split, tokenizer, task, batch_size=3, seq_len=16))


def test_shards_hold_tags_of_words(tokenizer, tmp_path):
    text = "the O\nfilm B-X\nwasly I-X\n\ngood O\n\nnot B-X\nbad O\n"
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text(text)
    files = CustomFiles(train_file=str(tmp_path / "train.txt"), dev_file=str(tmp_path / "dev.txt"))
    data = load_task("token_classification", files=files)
    ids = {word: index for index, word in enumerate(data.task.labels)}
    shards = open_shards(tmp_path / "shards", data.train, tokenizer, data.task, 16, ids)
    expected = batches(data.train, tokenizer, data.task, batch_size=2, seq_len=16, ids=ids)
    assert contents(shards.batches(2)) == contents(expected)


def test_batch_n_is_the_same_wherever_reading_starts(shards):
    whole = list(shards.row_numbers(2, seed=3, epochs=30))
    assert len(whole) == shards.count_batches(2, epochs=30)
    for first in (0, 1, 63, 64, 100, len(whole) - 1, len(whole)):
        rest = list(shards.row_numbers(2, seed=3, epochs=30, first=first))
        assert [rows.tolist() for rows in rest] == [rows.tolist() for rows in whole[first:]]


def test_every_epoch_is_another_permutation_of_all_rows(shards):
    order = np.concatenate(list(shards.row_numbers(11, seed=1, epochs=3, buckets=(64,))))
    epochs = order.reshape(3, 11)
    assert (np.sort(epochs) == np.arange(11)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = np.concatenate(list(shards.row_numbers(11, seed=2, epochs=3, buckets=(64,))))
    assert (other != order).any()


def test_rows_from_all_over_the_data_meet_in_a_window(tmp_path, tokenizer):
    """Augmented files hold the copies of a row one after the other; a buffer of 100,000 rows hardly moves them."""
    rows = [Example(n, "the film", None, "1") for n in range(2000)]
    task = load_task("sst2", tmp_path).task
    shards = open_shards(tmp_path / "shards", Split("train", "rows", lambda: iter(rows)), tokenizer, task, 16, IDS)
    first = np.concatenate([rows for rows, _ in zip(shards.row_numbers(1, seed=0), range(64), strict=False)])
    assert first.min() < 200 and first.max() > 1800


def test_rows_are_read_once(data, tokenizer, tmp_path):
    passes = []

    def counted():
        passes.append(1)
        return iter(rows)

    rows = list(data.train)
    split = Split("train", "rows", counted)
    made = open_shards(tmp_path, split, tokenizer, data.task, 64, IDS, identity=[1])
    again = open_shards(tmp_path, split, tokenizer, data.task, 64, IDS, identity=[1])
    assert len(passes) == 2 and contents(again.batches(4)) == contents(made.batches(4))
    # Another identity: the rows are read, found to be the same, and their shards are kept.
    before = (again.folder / "word_ids").stat().st_mtime_ns
    assert open_shards(tmp_path, split, tokenizer, data.task, 64, IDS, identity=[2]).key == made.key
    assert len(passes) == 3 and (again.folder / "word_ids").stat().st_mtime_ns == before
    rows[0] = rows[0]._replace(text="bad")
    changed = open_shards(tmp_path, split, tokenizer, data.task, 64, IDS, identity=[3])
    assert changed.key != made.key and contents(changed.batches(4)) != contents(made.batches(4))


def test_a_malformed_row_leaves_no_shards(data, tokenizer, tmp_path):
    def rows():
        yield next(iter(data.train))
        raise InputError("line 2: malformed")

    with pytest.raises(InputError, match="line 2: malformed"):
        open_shards(tmp_path / "shards", Split("train", "rows", rows), tokenizer, data.task, 64, IDS)
    assert not (tmp_path / "shards").exists()


def test_damaged_shards_are_named(shards):
    with (shards.folder / "word_ids").open("ab") as file:
        file.write(b"xx")
    with pytest.raises(InputError, match=r"word_ids: not the .* remove"):
        type(shards)(shards.folder)


def test_extra_features_follow_their_rows(shards):
    values = np.arange(shards.rows, dtype=np.float32)
    double = lambda numbers, length: np.where(numbers >= 0, 2 * values[numbers], -1)[:, None]
    dataset = shards.batches(4, seed=0, extra={"double": double})
    seen = np.concatenate([features["double"][:, 0] for features, *_ in dataset.as_numpy_iterator()])
    assert sorted(seen) == [-1, *(2 * values)]
