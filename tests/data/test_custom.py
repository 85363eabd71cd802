import csv
import json

import pytest

from tinybert_tf.data import batches, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.errors import InputError

COLUMNS = {"text_column": "review", "label_column": "stars"}


def write_csv(path, rows, header=("review", "stars"), separator=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    return str(path)


def load(train, dev=None, labels=None, **columns):
    return load_task("custom", files=CustomFiles(train_file=train, dev_file=dev, **(COLUMNS | columns)), labels=labels)


def test_quotes_separators_and_line_breaks_in_fields_are_data(tmp_path):
    rows = [('he said "no", twice', "bad"), ("one line\nand another\r\nand more", "good"), (" \ttabs\t", "bad")]
    for separator, name in ((",", "train.csv"), ("\t", "train.tsv")):
        data = load(write_csv(tmp_path / name, rows, separator=separator))
        assert [(row.text, row.label) for row in data.train] == rows
        assert data.task.labels == ("bad", "good") and data.task.kind == "classification"
    with (tmp_path / "train.jsonl").open("w") as file:
        file.writelines(json.dumps({"review": text, "stars": label, "more": None}) + "\n" for text, label in rows)
    assert [(row.text, row.label) for row in load(str(tmp_path / "train.jsonl")).train] == rows


def test_whole_numbers_are_sorted_as_numbers(tmp_path):
    data = load(write_csv(tmp_path / "train.csv", [("a", n) for n in ("10", "9", "-1", "2")]))
    assert data.task.labels == ("-1", "2", "9", "10")
    with (tmp_path / "train.jsonl").open("w") as file:
        file.writelines(json.dumps({"review": "a", "stars": stars}) + "\n" for stars in (True, 2, 10))
    assert load(str(tmp_path / "train.jsonl")).task.labels == ("10", "2", "true")


def test_pairs_and_scores(tmp_path, tokenizer):
    path = write_csv(
        tmp_path / "train.csv", [("the film", "good film", "0.5"), ("bad", "not good", " -2 ")], ("one", "two", "score")
    )
    columns = {"text_column": "one", "text_pair_column": "two", "label_column": "score", "label_type": "number"}
    data = load(path, path, **columns)
    assert [(row.text_pair, row.label) for row in data.train] == [("good film", "0.5"), ("not good", "-2")]
    assert [row.label for row in data.test] == [None, None]
    assert data.task.kind == "regression" and data.task.main_metric == "spearman"
    features, label, _ = next(iter(batches(data.train, tokenizer, data.task, batch_size=2)))
    assert sorted(label.numpy().tolist()) == [-2.0, 0.5]
    assert features["input_type_ids"].numpy().max() == 1


def test_the_empty_label_is_named_by_its_row(tmp_path):
    """The line is that of the file as an editor shows it: the row before it takes two."""
    rows = [("a", "x"), ("b\nb", "y"), ("c", " "), ("d", "x")]
    path = write_csv(tmp_path / "train.csv", rows)
    with pytest.raises(InputError, match=r"train\.csv, line 5: the label is empty \(column 'stars'\)"):
        load(path)
    # It does not matter to who predicts these rows.
    good = write_csv(tmp_path / "good.csv", [("a", "x"), ("b", "y")])
    assert len(list(load(good, path).test)) == 4
    with pytest.raises(InputError, match=r"line 5: the label is empty"):
        list(load(good, path).dev)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "review,stars\nx,1,2\n", "line 2: 3 columns, but the header has 2"),
        ("a.csv", 'review,stars\nx,1\n"open,2\n', r"line 3: .*quotes"),
        ("a.csv", "text,stars\nx,1\n", r"no column named 'review' \(--text_column\); there are text, stars"),
        ("a.csv", "review,review\nx,1\n", "two columns named 'review'"),
        ("a.csv", "review,stars\n", "no rows"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", "review,stars\nx,1\ny,1\n", "every label is '1'"),
        ("a.txt", "x", r"must be \.csv, \.tsv or \.jsonl"),
        ("a.jsonl", '{"review": "x", "stars": 1}\n{"review"\n', "line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", "line 1: holds a list, not an object"),
        ("a.jsonl", '{"review": ["x"], "stars": 1}\n', "line 1: 'review' is a list"),
        ("a.jsonl", '{"review": "\\ud800", "stars": 1}\n', "half of a character"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as refused:
        list(load(str(tmp_path / name)).train)
    assert name in str(refused.value)


def test_a_label_that_training_did_not_have_is_named(tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    dev = write_csv(tmp_path / "dev.csv", [("a", "x"), ("b", "z")])
    with pytest.raises(InputError, match=r"dev\.csv, line 3: unknown label 'z'; training had x, y"):
        list(load(train, dev).dev)


def test_without_a_training_file_the_labels_are_the_models(tmp_path):
    dev = write_csv(tmp_path / "dev.csv", [("a", "x"), ("b", "y")])
    assert load(None, dev, labels=("y", "x")).task.labels == ("y", "x")
    with pytest.raises(InputError, match="--train_file is missing"):
        load(None, dev)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": None}, r"--text_column is missing; there are review, stars"),
        ({"label_type": "float"}, "--label_type=float: must be class or number"),
        ({"label_type": "number"}, "the score 'x' is not a number"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, changes, message):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match=message):
        list(load(path, **changes).train)


def test_missing_files_are_named(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match=r"--dev_file is missing; --task=custom reads the split 'dev' from it"):
        load(path).dev  # noqa: B018
    with pytest.raises(InputError, match=r"--dev_file=nowhere\.csv: no such file"):
        load(path, "nowhere.csv").dev  # noqa: B018
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        load("nowhere.csv")
