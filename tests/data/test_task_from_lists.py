"""A task from texts and labels in memory."""

import numpy as np
import pytest

from tinybert_tf.data.custom import task_from_lists
from tinybert_tf.errors import InputError


def test_a_task_from_lists_and_arrays():
    data = task_from_lists(["a", "b", "c"], np.array([3, 20, 3]), dev_texts=("d",), dev_labels=[20])
    assert data.task.labels == ("3", "20") and [row.label for row in data.train] == ["3", "20", "3"]
    assert [row.label for row in data.dev] == ["20"] and [row.label for row in data.test] == [None]
    pairs = task_from_lists(["a", "b"], [0.5, -1], ["c", "d"], label_type="number")
    assert pairs.task.kind == "regression" and [row.text_pair for row in pairs.train] == ["c", "d"]
    with pytest.raises(InputError, match="no split 'dev'; it has train"):
        pairs.dev  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], ["x", "y"]), "labels has 2 entries, but there are 1 texts"),
        ((["a", None], ["x", "y"]), r"texts\[1\] is a NoneType"),
        ((["a", "b"], ["x", float("nan")]), r"labels\[1\] is missing"),
        ((["a", "b"], [["x"], ["y"]]), "several labels for one text"),
        ((["a", "b"], ["x", "x"]), "every label is 'x'"),
        (([], []), "no rows"),
        (("ab", ["x", "y"]), "texts is a str; give a list"),
        (({"a": 1}, ["x"]), "texts is a dict; give a list of texts, or one column"),
        ((["a", "b"], np.eye(2)), r"labels\[0\] is an array of 2: several labels"),
        ((["a", "b"], [object(), 1]), r"labels\[0\] is a object, not a text or a number"),
        ((["a", "b"], ["x", "y"], None, ["c"]), "dev_labels is missing; give a list of labels"),
        ((["a", "b"], "xy"), "labels is a str; give a list of labels"),
    ],
)
def test_lists_that_are_no_task_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        names = ("texts", "labels", "text_pairs", "dev_texts")
        task_from_lists(**dict(zip(names, arguments, strict=False)))


def test_lists_of_dev_that_would_be_passed_over_are_refused():
    with pytest.raises(InputError, match="dev_texts is missing"):
        task_from_lists(["a", "b"], ["x", "y"], dev_labels=["x"])
    with pytest.raises(InputError, match="dev_text_pairs are given, but `text_pairs` are not"):
        task_from_lists(["a", "b"], ["x", "y"], dev_texts=["a"], dev_labels=["x"], dev_text_pairs=["b"])


def test_labels_of_other_libraries():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match=r"labels\[1\] is missing"):
        task_from_lists(["a", "b"], pandas.Series([1, None], dtype="Int64"))
    with pytest.raises(InputError, match="texts is a DataFrame; give a list of texts, or one column"):
        task_from_lists(pandas.DataFrame({"a": ["b"]}), ["x"])
    assert task_from_lists(["a", "b"], pandas.Series([1, 0], dtype="Int64")).task.labels == ("0", "1")
    assert task_from_lists(["a", "b"], [b"x", b"y"]).task.labels == ("x", "y")
    joined = task_from_lists(["a", "b", "c"], ["x|y", "x", "y"], label_separator="none")
    assert joined.task.labels == ("x", "x|y", "y")


def test_half_of_a_character_in_a_list_is_refused():
    with pytest.raises(InputError, match=r"texts\[1\] holds half of a character"):
        task_from_lists(["a", "b\ud800"], ["x", "y"])
