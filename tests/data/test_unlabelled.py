"""Texts without labels, of every kind of task."""

import csv

import numpy as np
import pytest

from tinybert_tf.data import CustomFiles, batches, load_task
from tinybert_tf.errors import InputError

CONLL = "the DT O\ncafe NN B-LOC\n\nbad JJ O\n"


@pytest.fixture
def unlabelled(tmp_path):
    """A function from a task, the name and the content of a file to the split and the task."""
    (tmp_path / "train.conll").write_text(CONLL)

    def split(task, name, text, **settings):
        (tmp_path / name).write_text(text, encoding="utf-8")
        if task == "token_classification":
            settings["train_file"] = str(tmp_path / "train.conll")
        data = load_task(task, files=CustomFiles(unlabelled_file=str(tmp_path / name), **settings))
        return data.unlabelled, data.task

    return split


def test_texts_without_labels(tmp_path):
    train = str(tmp_path / "train.csv")
    with open(train, "w", newline="") as file:
        csv.writer(file).writerows([("review", "stars", "other"), ("a", "x", "c"), ("b", "y", "d")])
    load = lambda **more: load_task(
        "custom", files=CustomFiles(train_file=train, text_column="review", label_column="stars", **more)
    )
    (tmp_path / "more.txt").write_text("one\n\ntwo words\n", encoding="utf-8")
    more = load(unlabelled_file=str(tmp_path / "more.txt")).unlabelled
    assert [(row.text, row.label) for row in more] == [("one", None), ("two words", None)]
    assert [row.text for row in load(unlabelled_file=train).unlabelled] == ["a", "b"]
    files = CustomFiles(unlabelled_file=str(tmp_path / "more.txt"))
    assert len(load_task("sst2", tmp_path, files).unlabelled) == 2
    with pytest.raises(InputError, match="unlabelled_file is missing"):
        load().unlabelled  # noqa: B018
    with pytest.raises(InputError, match="pairs need a"):
        list(load(unlabelled_file=files.unlabelled_file, text_pair_column="other").unlabelled)


@pytest.mark.parametrize("space", ["  ", "\t", "\u00a0", "\u3000"])
def test_any_space_separates_the_words_of_a_text_to_tag(unlabelled, tokenizer, space):
    split, task = unlabelled("token_classification", "more.txt", f" the{space}film \n\nbad{space}\n")
    assert [(row.text, row.label) for row in split] == [("the film", None), ("bad", None)]
    features, _, weight = next(iter(batches(split, tokenizer, task, batch_size=2, in_order=True, buckets=(128,))))
    # [CLS] the film [SEP]; [CLS] bad [SEP]
    np.testing.assert_array_equal(features["input_word_ids"][:, :4], [[2, 5, 6, 3], [2, 9, 3, 0]])
    np.testing.assert_array_equal(weight[:, :4], [[0, 1, 1, 0], [0, 1, 0, 0]])
    assert not np.any(weight[:, 4:])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("more.conll", CONLL),
        ("more.tsv", CONLL.replace(" ", "\t")),
        ("more.conll", "the\ncafe\n\nbad\n"),
        ("more.conll", "1\tthe\n2\tcafe\n\n1\tbad\n"),
        ("more.conllu", "# global.columns = ID FORM\n1\tthe\n2\tcafe\n\n1\tbad\n"),
    ],
)
def test_words_are_read_from_a_file_in_the_layout_of_the_training_file(unlabelled, name, text):
    split, _ = unlabelled("token_classification", name, text)
    assert [(row.text, row.label) for row in split] == [("the cafe", None), ("bad", None)]


@pytest.mark.parametrize("name", ["more.csv", "more.jsonl"])
def test_words_to_tag_are_in_no_table(unlabelled, name):
    split, _ = unlabelled("token_classification", name, "text\na b\n")
    with pytest.raises(InputError, match=rf"{name}: words to tag are read from .txt .* or CoNLL's layout, not from"):
        list(split)


def test_spaces_of_other_texts_are_kept(unlabelled):
    assert [row.text for row in unlabelled("sst2", "more.txt", " the  film\n")[0]] == [" the  film"]


def test_cola_reads_a_named_column_as_in_its_test_set(unlabelled):
    for name, text in (("more.tsv", "index\tsentence\n0\ta b\n"), ("more.jsonl", '{"sentence": "a b"}\n')):
        assert [(row.text, row.label) for row in unlabelled("cola", name, text)[0]] == [("a b", None)]


@pytest.mark.parametrize(
    ("task", "column", "remedy"),
    [("cola", "sentence", ", or take a .txt file with one text a line"), ("rte", "sentence1", "")],
)
def test_a_missing_column_is_no_setting_of_the_papers_tasks(unlabelled, task, column, remedy):
    split, _ = unlabelled(task, "more.tsv", "gj04\t1\t\tone\ngj04\t0\t*\ttwo\n")
    with pytest.raises(InputError) as refused:
        list(split)
    found = str(refused.value).partition("more.tsv, ")[2]
    assert found == f"line 2 has gj04, 1, , one, but task {task} reads '{column}'; rename the column{remedy}"


def test_a_text_file_in_conlls_layout_is_refused(unlabelled):
    split, _ = unlabelled("token_classification", "more.txt", "EU O\nrejects O\n\nOslo B-LOC\n")
    with pytest.raises(InputError, match=r"more\.txt: its lines end in tags, .*; name it \.conll"):
        list(split)
    split, _ = unlabelled("token_classification", "text.txt", "Vitamin O\nthe film was good\n")
    assert len(list(split)) == 2
