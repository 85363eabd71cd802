import doctest
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinybert_tf.data.split as splits
from tinybert_tf.data import (
    batches,
    batching,
    checks,
    class_weights,
    get_task,
    label_values,
    length_buckets,
    load_task,
    task_from_lists,
    tasks,
)
from tinybert_tf.data.squad import Answer, SquadExample, write_squad
from tinybert_tf.errors import InputError


@pytest.fixture
def data(sst2_dir):
    return load_task("sst2", sst2_dir)


def a_model(words, label2id=None, positions=512):
    return SimpleNamespace(
        config=SimpleNamespace(
            label2id=label2id, vocab_size=words, max_position_embeddings=positions, type_vocab_size=1
        )
    )


def numbered(split, tokenizer, task, **options):
    return batches(split, tokenizer, task, row_numbers=True, **options)


def collect(dataset):
    """Row number -> (word ids without padding, label), over all batches; and the batches' shapes."""
    rows, shapes = [], []
    for features, labels, weights, numbers in dataset.as_numpy_iterator():
        shapes.append(features["input_word_ids"].shape)
        lengths = features["input_mask"].sum(axis=1)
        for ids, length, label, weight, number in zip(
            features["input_word_ids"], lengths, labels, weights, numbers, strict=True
        ):
            assert weight == (number >= 0)
            if weight:
                rows.append((int(number), tuple(ids[:length]), int(label)))
    return rows, shapes


def test_no_row_is_lost_and_every_batch_is_full(data, tokenizer):
    """The published code drops the last partial batch, and trains nothing where there are fewer rows than one batch."""
    rows, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=4))
    assert sorted(number for number, *_ in rows) == list(range(11))
    assert all(shape[0] == 4 for shape in shapes)
    _, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=64, buckets=(64,)))
    assert shapes == [(64, 64)]


def test_padding_goes_to_the_next_bucket_and_no_further(data, tokenizer):
    """The published code pads every row to the full length. Rows of one length stand in one batch here."""
    rows, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=3))
    assert [length for _, length in shapes] == [8, 12, 16, 20]
    fully_padded, _ = collect(numbered(data.train, tokenizer, data.task, batch_size=3, buckets=(64,)))
    assert sorted(rows) == sorted(fully_padded)
    rows, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=4))
    assert [length for _, length in shapes] == [12, 16, 20]  # of the longest row in each
    assert sorted(rows) == sorted(fully_padded)


def test_the_number_of_batches_is_known_beforehand(data, tokenizer):
    for batch_size, epochs in ((4, 1), (4, 3), (64, 2)):
        dataset = batches(data.train, tokenizer, data.task, batch_size=batch_size, epochs=epochs, shuffle_seed=1)
        assert len(dataset) == -(-11 * epochs // batch_size) == sum(1 for _ in dataset)


def test_the_order_follows_the_seed_and_changes_with_the_epoch(data, tokenizer):
    def order(seed):
        dataset = numbered(data.train, tokenizer, data.task, batch_size=11, buckets=(64,), epochs=2, shuffle_seed=seed)
        return [tuple(numbers) for *_, numbers in dataset.as_numpy_iterator()]

    first, second = order(1)
    assert order(1) == [first, second]
    assert first != second
    assert order(2) != [first, second]
    assert sorted(first) == sorted(second) == list(range(11))


def test_what_follows_skipped_batches_is_the_same(data, tokenizer):
    """Training resumes so."""
    options = {"batch_size": 2, "epochs": 3, "shuffle_seed": 5, "row_numbers": True}
    whole = list(batches(data.train, tokenizer, data.task, **options).as_numpy_iterator())
    resumed = list(batches(data.train, tokenizer, data.task, **options).skip(7).as_numpy_iterator())
    assert len(whole) == 17 and len(resumed) == 10
    for ours, theirs in zip(whole[7:], resumed, strict=True):
        np.testing.assert_array_equal(ours[3], theirs[3])
        np.testing.assert_array_equal(ours[0]["input_word_ids"], theirs[0]["input_word_ids"])


def test_a_limit_is_a_number_of_rows(data):
    for count in (-1, 1.5, "3"):
        with pytest.raises(InputError, match=f"count={count!r}: must be an integer of at least 0"):
            data.train.limit(count)


def test_a_limit_takes_the_first_rows(data, tokenizer):
    rows, _ = collect(numbered(data.train.limit(3), tokenizer, data.task, batch_size=2))
    assert sorted(number for number, *_ in rows) == [0, 1, 2]


def test_long_texts_are_cut_to_the_sequence_length(data, tokenizer):
    rows, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=4, seq_len=6))
    assert {length for _, length in shapes} == {6}
    assert max(len(ids) for _, ids, _ in rows) == 6


def test_labels_take_the_models_ids(data, tokenizer):
    plain, _ = collect(numbered(data.train, tokenizer, data.task, batch_size=4))
    swapped, _ = collect(numbered(data.train, tokenizer, data.task, batch_size=4, ids={"0": 1, "1": 0}))
    np.testing.assert_array_equal([label for *_, label in sorted(plain)], [1 - label for *_, label in sorted(swapped)])


def test_buckets_end_at_the_sequence_length():
    assert length_buckets(64) == tuple(range(4, 65, 4))
    assert length_buckets(50)[-2:] == (48, 50)
    assert length_buckets(384)[-3:] == (320, 352, 384)


def test_the_cardinality_is_known(data, tokenizer):
    """Keras would otherwise run one step too many of what it took for an endless dataset."""
    options = {"batch_size": 4, "epochs": 3, "shuffle_seed": 1}
    assert int(batches(data.train, tokenizer, data.task, **options).cardinality()) == 9
    assert int(batches(data.train, tokenizer, data, **options).skip(2).cardinality()) == 7


def test_batches_in_order_have_no_filling(data, tokenizer):
    found = list(numbered(data.train, tokenizer, data.task, batch_size=4, in_order=True).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([numbers for *_, numbers in found]), np.arange(11))
    assert [len(weight) for _, _, weight, _ in found] == [4, 4, 3] and all(weight.all() for _, _, weight, _ in found)
    assert found[-1][0]["input_word_ids"].shape == (3, 16)
    with pytest.raises(InputError, match="in_order=True: a shuffled order"):
        batches(data.train, tokenizer, data.task, batch_size=4, in_order=True, shuffle_seed=0)


def test_label_ids_are_those_of_the_model(data, tokenizer):
    model = a_model(tokenizer.vocab_size, {"positive": 0, "negative": 1})
    plain, _ = collect(numbered(data.train, tokenizer, data.task, batch_size=4))
    swapped, _ = collect(numbered(data.train, tokenizer, data.task, batch_size=4, model=model))
    np.testing.assert_array_equal([label for *_, label in sorted(plain)], [1 - label for *_, label in sorted(swapped)])


def test_a_model_that_cannot_read_the_batches_is_refused(data, tokenizer):
    words = tokenizer.vocab_size
    with pytest.raises(InputError, match=rf"tokenizer has {words} words .*the model's table has {words - 1}"):
        batches(data.train, tokenizer, data.task, batch_size=4, model=a_model(words - 1))
    short = a_model(words + 1, positions=8)
    with pytest.raises(InputError, match="seq_len=16: the model has 8 positions"):
        batches(data.train, tokenizer, data.task, batch_size=4, model=short, seq_len=16)
    _, shapes = collect(numbered(data.train, tokenizer, data.task, batch_size=4, model=short))
    assert max(length for _, length in shapes) <= 8
    pairs = task_from_lists(["a", "b"], ["x", "y"], ["c", "d"])
    with pytest.raises(InputError, match="type_vocab_size=1, but the task's pairs of texts need 2 token types"):
        batches(pairs.train, tokenizer, pairs.task, batch_size=2, model=a_model(words))


def test_a_logits_model_is_read_as_its_network(data, tokenizer):
    network = a_model(tokenizer.vocab_size, {"positive": 0, "negative": 1}, positions=8)
    options = {"batch_size": 4}
    found, expected = (
        collect(numbered(data.train, tokenizer, data.task, **options, model=model))
        for model in (SimpleNamespace(network=network), network)
    )
    assert found == expected and max(length for _, length in found[1]) <= 8


def test_sizes_of_numpy_are_those_of_python(data, tokenizer):
    plain = {"batch_size": 4, "seq_len": 8, "epochs": 1, "buckets": (6, 8)}
    of_numpy = {name: np.int64(value) for name, value in plain.items() if name != "buckets"}
    expected = collect(numbered(data.train, tokenizer, data.task, **plain))
    assert collect(numbered(data.train, tokenizer, data.task, **of_numpy, buckets=np.array([6, 8]))) == expected


def test_what_is_no_split_or_no_task_is_refused(data, tokenizer):
    with pytest.raises(InputError, match="split is a TaskData; give a split of a task, such as `task.train`"):
        batches(data, tokenizer, data, batch_size=4)
    with pytest.raises(InputError, match="split is a list; give a split"):
        batches(["a text"], tokenizer, data, batch_size=4)
    with pytest.raises(InputError, match="task is a str; give what `tb.load_task`"):
        batches(data.train, tokenizer, "sst2", batch_size=4)


def test_what_is_no_tokenizer_is_refused(data):
    for given, kind in (("bert", "str"), (Path("bert"), "PosixPath")):
        with pytest.raises(InputError, match=rf'tokenizer is a {kind}; give `tb.Tokenizer.from_directory\("bert"\)`'):
            batches(data.train, given, data.task, batch_size=4)
    with pytest.raises(InputError, match="tokenizer is a NoneType"):
        batches(data.train, None, data.task, batch_size=4)


def test_a_model_with_the_head_of_another_task_is_refused(data, tokenizer):
    with pytest.raises(InputError, match="model has the head 'regression', but task .* needs 'classification'"):
        batches(data.train, tokenizer, data.task, batch_size=4, model=SimpleNamespace(head="regression"))


@pytest.mark.parametrize(
    "sizes",
    [{"batch_size": 0}, {"batch_size": 2.5}, {"seq_len": 0}, {"seq_len": "32"}, {"epochs": 0}, {"shuffle_seed": 0.5}],
)
def test_sizes_that_hold_nothing_are_refused(data, tokenizer, sizes):
    ((name, value),) = sizes.items()
    with pytest.raises(InputError, match=f"{name}={value!r}: must be an integer of at least"):
        batches(data.train, tokenizer, data.task, **({"batch_size": 4} | sizes))


@pytest.mark.parametrize("buckets", [(8, 32), (64, 8), (0, 64), (), (8.5, 64), 64, "64", np.array([8, 32])])
def test_buckets_that_do_not_reach_the_sequence_length_are_refused(data, tokenizer, buckets):
    with pytest.raises(InputError, match="must be ascending lengths, the last at least `seq_len`=64"):
        batches(data.train, tokenizer, data.task, batch_size=4, buckets=buckets)


def test_rows_weigh_what_their_class_weighs(data, tokenizer):
    weights = class_weights("balanced", data.task, data.train)
    assert weights == {"0": 11 / 12, "1": 11 / 10}
    for features, labels, found, numbers in numbered(
        data.train, tokenizer, data.task, batch_size=4, label_weights=weights
    ).as_numpy_iterator():
        expected = np.where(numbers < 0, 0, np.where(labels == 1, 11 / 10, 11 / 12))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert features["input_mask"].shape[0] == 4
    with pytest.raises(InputError, match="label_weights has 1, but task sst2 the labels '0', '1'"):
        batches(data.train, tokenizer, data.task, batch_size=4, label_weights={"0": 1.0, 1: 5.0})
    with pytest.raises(InputError, match="class_weights=2=1: '2=1' is not LABEL=WEIGHT with one of the labels 0, 1"):
        class_weights("2=1", data.task, data.train)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None, "2"])
def test_a_weight_that_is_no_number_of_at_least_0_is_refused(data, tokenizer, weight):
    with pytest.raises(InputError, match=f"label_weights of '1' is {weight!r}, not a number of at least 0"):
        batches(data.train, tokenizer, data.task, batch_size=4, label_weights={"0": 1, "1": weight})


def test_weights_in_no_mapping_are_refused(data, tokenizer):
    for given, kind in (("balanced", "str"), ([1.0, 2.0], "list")):
        with pytest.raises(InputError, match=f"label_weights is a {kind}; give a mapping from label to weight"):
            batches(data.train, tokenizer, data.task, batch_size=4, label_weights=given)


def test_rows_weigh_what_their_class_weighs_also_where_ids_have_gaps(data, tokenizer):
    found = numbered(data.train, tokenizer, data.task, batch_size=4, ids={"1": 0, "0": 5}, label_weights={"0": 3})
    for _, labels, weights, numbers in found.as_numpy_iterator():
        np.testing.assert_array_equal(weights, np.where(numbers < 0, 0, np.where(labels == 5, 3, 1)))


def test_the_examples_in_docstrings_run():
    assert not any(doctest.testmod(module).failed for module in (batching, checks, splits, tasks))


def test_ids_without_a_label_are_refused(tokenizer):
    data = load_task("sample")
    with pytest.raises(InputError, match="ids={'a': 0}: has no id for 'negative', 'positive'; pass `model=`"):
        batches(data.dev, tokenizer, data.task, batch_size=4, ids={"a": 0})
    with pytest.raises(InputError, match=r"ids\['positive'\]=-1: must be an integer of at least 0"):
        batches(data.dev, tokenizer, data.task, batch_size=4, ids={"negative": 0, "positive": -1})
    with pytest.raises(InputError, match="ids is a list; give a mapping from label to id"):
        batches(data.dev, tokenizer, data.task, batch_size=4, ids=["negative", "positive"])


def test_pairs_are_read_by_a_network_without_token_types(tokenizer):
    """Such as a BiLSTM."""
    data = task_from_lists(["the film", "bad"], ["a", "b"], ["good", "not"])
    model = a_model(tokenizer.vocab_size)
    del model.config.type_vocab_size
    features, _, _ = next(iter(batches(data.train, tokenizer, data.task, batch_size=2, model=model)))
    assert features["input_type_ids"].shape[0] == 2


def test_questions_are_refused_with_what_makes_their_batches(tokenizer, tmp_path):
    question = SquadExample("q", "not bad", "the film was good", (Answer("good", 13),))
    task = get_task("squad1")
    write_squad(tmp_path / "train-v1.1.json", [question], task)
    data = load_task("squad1", tmp_path)
    for refused in (
        lambda: batches(data.train, tokenizer, data, batch_size=1),
        lambda: label_values(list(data.train), task, {}),
    ):
        with pytest.raises(
            InputError, match=r"task squad1 has questions.*SpanFeatures\(split, tokenizer, seq_len\)"
        ) as e:
            refused()
    module, _, name = re.search(r"`([\w.]+)\(", str(e.value))[1].rpartition(".")
    features = getattr(importlib.import_module(module), name)(data.train, tokenizer, 16)
    (found, label, weight), *_ = features.batches(batch_size=1)
    # [CLS] not bad [SEP] the film was good [SEP]
    np.testing.assert_array_equal(found["input_word_ids"][0, :9], [2, 10, 9, 3, 5, 6, 7, 8, 3])
    assert label.numpy().tolist() == [[7, 7]] and weight.numpy().tolist() == [1.0]
