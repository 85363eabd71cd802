import doctest
import sys

import pytest

from tinybert_tf.data import Split, TaskData, load_task, task_from_lists
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.describe import DescribeSettings, describe, describe_task
from tinybert_tf.settings import compose


def rows(count):
    """Texts whose label follows from one word."""
    texts = [f"number {n} was {('good', 'bad')[n % 2]}" for n in range(count)]
    return texts, [("pos", "neg")[n % 2] for n in range(count)]


def test_clean_data_has_no_complaints_and_a_baseline():
    texts, labels = rows(60)
    result = describe(task_from_lists(texts[:40], labels[:40], dev_texts=texts[40:], dev_labels=labels[40:]))
    assert (result["rows"], result["dev_rows"], result["classes"]) == (40, 20, 2)
    assert result["label_counts"] == {"neg": 20, "pos": 20} and result["complaints"] == []
    assert result["baseline_score"] == 1.0 and result["majority_score"] == 0.5
    assert result["lengths"] == {"median": 4.0, "p95": 4.0, "longest": 4, "truncated": 0.0}


def test_every_fault_is_counted():
    texts, labels = rows(200)
    train = [*texts[:180], "Number 0  was good", texts[1], "", "caf\ufffd", "long " * 200]
    of_train = [*labels[:180], "pos", "pos", "neg", "neg", "rare"]
    data = task_from_lists(train, of_train, dev_texts=[*texts[180:], texts[2]], dev_labels=[*labels[180:], "pos"])
    complaints = "\n".join(describe(data, seq_len=128)["complaints"])
    for expected in (
        "1 training rows repeat an earlier row",
        "2 training rows have a text that other rows give another label: 'number 1 was bad'",
        "1 of 21 dev rows are in the training set too: 'number 2 was good'",
        "1 training rows have an empty text",
        "1 training rows have characters that were lost (U+FFFD)",
        "1 of 3 labels have fewer than 8 training rows: rare",
        "1 labels are in no dev row: rare",
    ):
        assert expected in complaints
    lopsided = describe(task_from_lists([*texts[:95:2], "x"], [*labels[:95:2], "neg"]))
    assert any("have the label 'pos': accuracy says little" in complaint for complaint in lopsided["complaints"])


def test_labels_that_do_not_follow_from_the_texts_are_noticed():
    texts, labels = ["one two"] * 40, ["a", "b", "b", "a"] * 10
    result = describe(task_from_lists(texts, labels, dev_texts=texts, dev_labels=labels))
    assert any("no more than the most frequent answer" in complaint for complaint in result["complaints"])


def test_scores_and_tags_have_baselines_too(tmp_path):
    texts = [f"{'very ' * (n % 5)}good" for n in range(50)]
    data = task_from_lists(texts, [n % 5 for n in range(50)], texts, dev_texts=texts, dev_labels=[n % 5 for n in range(50)],
                           dev_text_pairs=texts, label_type="number")  # fmt: skip
    assert describe(data)["baseline_score"] > 0.9 and describe(data)["classes"] == 0
    (tmp_path / "train.conll").write_text("in O\nParis B-LOC\n\nhe O\n", encoding="utf-8")
    (tmp_path / "dev.conll").write_text("Paris B-LOC\nin O\nOslo B-LOC\n", encoding="utf-8")
    files = CustomFiles(train_file=str(tmp_path / "train.conll"), dev_file=str(tmp_path / "dev.conll"))
    result = describe(load_task("token_classification", files=files))
    assert result["baseline_score"] == pytest.approx(2 / 3) and result["label_counts"] == {"B-LOC": 1, "O": 2}


def test_the_sample_can_be_described():
    result = describe(load_task("sample"), max_train_examples=500)
    assert result["rows"] == 500 and 0.5 < result["baseline_score"] < 1 and result["majority_score"] < 0.6


def test_the_example_in_its_docstring_runs():
    assert doctest.testmod(sys.modules["tinybert_tf.evaluate.describe"]).failed == 0


@pytest.mark.parametrize(
    ("texts", "labels"), [([" "] * 12, ["a", "b"] * 6), (["", "good"], ["a", "b"]), (["good", "bad"], ["a", "b"])]
)
def test_few_and_empty_texts_are_described_too(texts, labels):
    result = describe(task_from_lists(texts, labels), max_train_examples=None if len(texts) > 2 else 1)
    assert result["rows"] == (12 if len(texts) > 2 else 1)
    assert (result["baseline_score"] is None) == (len(texts) == 2)


def test_no_rows_are_refused():
    data = task_from_lists(["good", "bad"], ["a", "b"])
    for count in (0, -1, "2"):
        with pytest.raises(InputError, match=f"max_train_examples={count!r}: must be an integer of at least 1"):
            describe(data, max_train_examples=count)
    empty = TaskData(data.task, lambda name: Split(name, "rows.csv", lambda: iter(())))
    with pytest.raises(InputError, match=r"rows\.csv: there are no rows to describe"):
        describe(empty)


def test_a_single_sentence_with_tags_is_described_too(tmp_path):
    (tmp_path / "train.conll").write_text("in O\nParis B-LOC\n", encoding="utf-8")
    result = describe(load_task("token_classification", files=CustomFiles(train_file=str(tmp_path / "train.conll"))))
    assert result["rows"] == 1 and result["baseline_score"] is None


def test_a_faulty_dev_file_is_no_absent_one(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,x\nb,y\n" * 1 + "c,x\n" * 12, encoding="utf-8")
    (tmp_path / "dev.csv").write_text("text,label\na,z\n", encoding="utf-8")
    columns = {"train_file": str(tmp_path / "train.csv"), "text_column": "text", "label_column": "label"}
    for name, message in (("dev.csv", "line 2: unknown label 'z'"), ("nothing.csv", "no such file")):
        with pytest.raises(InputError, match=message):
            describe(load_task("custom", files=CustomFiles(**columns, dev_file=str(tmp_path / name))))
    assert describe(load_task("custom", files=CustomFiles(**columns)))["dev_rows"] == 0


def test_lengths_are_those_of_the_normalization(tmp_path):
    """MediaPipe's tokenizer makes an unknown word of "café"; BERT's takes its accent away."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nca\n##fe\n", encoding="utf-8")
    (tmp_path / "train.csv").write_text("text,label\n" + "café,x\ncafé,y\n" * 9, encoding="utf-8")
    own = {"task": "custom", "train_file": str(tmp_path / "train.csv"), "text_column": "text", "label_column": "label"}
    settings = [compose(DescribeSettings, **own, vocab=str(tmp_path / "vocab.txt"), normalization=name)
                for name in (None, "mediapipe")]  # fmt: skip
    assert [describe_task(of)["lengths"]["longest"] for of in settings] == [4, 3]
