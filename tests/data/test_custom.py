import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.data import batches, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.tables import read_records, written_records
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
        ("a.csv", "text,stars\nx,1\n", "text_column=review: no such column; .*line 2 has text, stars"),
        ("a.csv", "review,review\nx,1\n", "two columns named 'review'"),
        ("a.csv", "review,stars\n", "no rows"),
        ("a.csv", "", "the file is empty"),
        ("a.csv", "review,stars\nx,1\ny,1\n", "every label is '1'"),
        ("a.txt", "x", r"unknown extension; use \.csv, \.tsv or \.jsonl"),
        ("a.jsonl", '{"review": "x", "stars": 1}\n{"review"\n', "line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", "line 1: holds a list, not an object"),
        ("a.jsonl", '{"review": ["x"], "stars": 1}\n', "line 1: 'review' is a list"),
        ("a.jsonl", '{"review": "\\ud800", "stars": 1}\n', "half of a character"),
        ("a.jsonl", '{"review": "x", "stars": "a\\nb"}\n', "line 1: the label .* has a line break in it"),
        ("a.jsonl", '{"review": "x", "stars": ["a"]}\n', "several labels for one text are not supported"),
        ("a.csv", "review,stars\nx,a|b\ny,b\nz,a\n", "1 rows have the label 'a|b', which is a list of others"),
        ("a.csv", "review,stars\nx,1.0\ny,0\nz,1\n", "1 rows have the label .1. and 1 have .1.0., the same number"),
        ("a.csv", "review,stars\nx,a;b\ny,b;c\nz,a;c\n", "several labels for one text are not supported"),
        ("a.csv", "review,stars\nx,\"['a', 'b']\"\ny,\"['b']\"\n", "several labels for one text are not supported"),
        ("a.csv", "review,stars\nx,01\ny,0\nz,1\n", "1 rows have the label .1. and 1 have .01., the same number"),
        ("a.csv", "review,stars\nx,+1\ny,0\nz,1.00\n", "the same number"),
        ("a.csv", "review,stars\nx,a b\ny,b\nz,a\n", "1 rows have the label 'a b', which is a list of others"),
        ("a.csv", "review,stars\nx,0 1 1\ny,1 0 0\n", "several labels for one text are not supported"),
        ("a.csv", 'review,stars\nx,"{a, b}"\ny,{a}\n', "several labels for one text are not supported"),
        ("a.csv", "review,stars\nx,NaN\ny,1\nz,0\n", "line 2: the label is 'NaN', which stands for a missing value"),
        ("a.jsonl", '{"review": "x", "stars": NaN}\n', "line 1: 'stars' is nan, which is no value"),
        ("a.jsonl", '{"review": NaN, "stars": 1}\n', "line 1: 'review' is nan, which is no value"),
        ("a.jsonl", '{"review": "x", "stars": 1, "stars": 2}\n', "line 1: not valid JSON .two entries named 'stars'"),
        ("a.csv", "review,stars,more\nx,1\n", "line 2: 2 columns, but the header has 3; write every column"),
        ("a.tsv", 'review\tstars\n"x\t1\n\nmore\t2\nand y"\t1\n', "lines 2 and 5: a quote at the beginning"),
        ("a.tsv", 'review\tstars\tid\n"x\t1\t\nmore\t2\ny"\t1\t3\n', "lines 2 and 4: a quote at the beginning"),
        ("a.csv", 'review,stars\n"x, so,1\nmore, or,2\nand, y",1\n', "lines 2 and 4: a quote at the beginning"),
        ("a.tsv", 'review\tstars\n"x\t1\nmore\t2\nand y"\t1\n', "lines 2 and 4: a quote at the beginning of one text"),
        ("a.csv", 'review,stars\n"x,1\n"a, b",2\nand y",1\nz,2\n', r"a\.csv, line"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as refused:
        list(load(str(tmp_path / name)).train)
    assert name in str(refused.value)


def test_what_looks_like_several_labels_and_is_none(tmp_path):
    for labels in (("A+", "A", "B", "B+"), ("very good", "very bad", "good", "bad"), ("C#", "F#", "C", "F")):
        path = write_csv(tmp_path / "train.csv", [("a", label) for label in labels])
        assert load(path).task.labels == tuple(sorted(labels))


def test_labels_that_look_the_same_are_named(tmp_path, caplog):
    path = write_csv(tmp_path / "train.csv", [("a", "good"), ("b", "Good"), ("c", "bad"), ("d", "bad\u200b")])
    assert len(load(path).task.labels) == 4
    assert [m.partition(": ")[2].partition(" differ")[0] for m in caplog.messages] == [
        "the labels 'good' (1 rows) and 'Good' (1)",
        "the labels 'bad' (1 rows) and 'bad\\u200b' (1)",
    ]


def test_lines_of_spaces_and_a_named_separator(tmp_path):
    (tmp_path / "a.csv").write_text("sep=;\nreview;stars\na, b;x\n   \n\nb;y\n")
    assert [row.text for row in load(str(tmp_path / "a.csv")).train] == ["a, b", "b"]


def test_scores_that_training_cannot_hold_are_refused(tmp_path):
    for score, reason in (("1_000", "is not a number"), ("1e39", "is too large for float32")):
        path = write_csv(tmp_path / "train.csv", [("a", "1"), ("b", score)])
        with pytest.raises(InputError, match=f"line 3: the score '{score}' {reason}"):
            list(load(path, label_type="number").train)


def test_one_column_is_not_read_as_two(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="label_column=review: is the `text_column` too"):
        load(path, label_column="review")
    with pytest.raises(InputError, match="text_pair_column=review: is the `text_column` too"):
        load(path, text_pair_column="review")


def test_a_label_that_training_did_not_have_is_named(tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    dev = write_csv(tmp_path / "dev.csv", [("a", "x"), ("b", "z")])
    with pytest.raises(InputError, match=r"dev\.csv, line 3: unknown label 'z'; training had x, y"):
        list(load(train, dev).dev)


def test_without_a_training_file_the_labels_are_the_models(tmp_path):
    dev = write_csv(tmp_path / "dev.csv", [("a", "x"), ("b", "y")])
    assert load(None, dev, labels=("y", "x")).task.labels == ("y", "x")
    with pytest.raises(InputError, match="train_file is missing"):
        load(None, dev)


def test_labels_give_their_order_to_those_of_a_training_file(tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    assert load(train).task.labels == ("x", "y")
    data = load(train, labels=np.array(["y", "x"]))
    assert data.task.labels == ("y", "x") and [row.label for row in data.train] == ["x", "y"]
    with pytest.raises(InputError, match=r"labels has y, z, but .*train\.csv x, y; give the same labels"):
        load(train, labels=["y", "z"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("xy", "labels is a str; give a list of labels"),
        ({"x": 0, "y": 1}, "labels is a dict; give a list of labels"),
        (["x", 1], r"labels\[1\] is a int, not a text"),
        (["x", "y", "x"], "labels has 'x' twice"),
        ([], "labels is empty"),
    ],
)
@pytest.mark.parametrize("has_train", [True, False])
def test_labels_that_are_no_order_are_refused(tmp_path, labels, message, has_train):
    path = write_csv(tmp_path / "rows.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match=message):
        load(path if has_train else None, path, labels=labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": None}, "text_column is missing; .*line 2 has review, stars"),
        ({"label_type": "float"}, "label_type=float: must be class or number"),
        ({"label_type": "number"}, "the score 'x' is not a number"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, changes, message):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match=message):
        list(load(path, **changes).train)


def test_missing_files_are_named(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="dev_file is missing; task custom reads the split 'dev' from it"):
        load(path).dev  # noqa: B018
    with pytest.raises(InputError, match=r"dev_file=nowhere\.csv: no such file"):
        load(path, "nowhere.csv").dev  # noqa: B018
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        load("nowhere.csv")


def test_a_quote_at_the_begin_of_one_text_and_the_end_of_another(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text('review\tstars\na fine day\tx\n"It begins\ty\nthe middle\tx\nit ends"\ty\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"lines 3 and 5: .*`quoting=none`.*`quoting=csv`"):
        load(str(path))
    assert [row.text for row in load(str(path), quoting="none").train] == [
        "a fine day",
        '"It begins',
        "the middle",
        'it ends"',
    ]
    assert len(list(load(str(path), quoting="csv").train)) == 2
    with pytest.raises(InputError, match="quoting=all: must be one of auto, csv, none"):
        load(str(path), quoting="all")


@pytest.mark.parametrize(
    "between",
    ["2,It rained,y,seen", "2,It rained,y,", "2,It rained,y,seen\n3,It cost 1,000,x,\n4,It snowed,x,"],
)
def test_rows_with_an_empty_last_column_that_quotes_enclose(tmp_path, between):
    path = tmp_path / "train.csv"
    path.write_text(f'id,review,stars,note\n1,"Hello there,x,\n{between}\n8,bye",y,\n9,end,x,\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"lines 2 and \d: a quote at the beginning of one text"):
        load(str(path))


def test_prose_of_several_lines_is_a_field(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        'review,stars,note\n"Dear all,\nit was good, fine,\nand 1,000 people,",x,\nbye,y,\n', encoding="utf-8"
    )
    assert [row.text for row in load(str(path)).train] == ["Dear all,\nit was good, fine,\nand 1,000 people,", "bye"]


def test_files_may_be_paths(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    assert load(Path(path)).train.source == str(path)


def test_a_text_of_several_lines_with_commas_is_one_text(tmp_path):
    rows = [("Well, it was\nlong, very long", "x"), ("short", "y")]
    assert [(row.text, row.label) for row in load(write_csv(tmp_path / "train.csv", rows)).train] == rows


def test_other_separators_line_ends_and_a_byte_order_mark_are_recognized(tmp_path, caplog):
    rows = [('"Great" said, he; and left', "good"), ('ends with a quote"', "bad"), ("café", "good")]
    with caplog.at_level("INFO", "tinybert_tf"):
        for separator in ";\t|":
            path = write_csv(tmp_path / "other.csv", rows, separator=separator)
            assert [(row.text, row.label) for row in load(path).train] == rows
            assert f"columns are separated by {separator!r}" in caplog.messages[-1]
    text = (tmp_path / "other.csv").read_text("utf-8").replace("\r\n", "\r")
    (tmp_path / "other.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [(row.text, row.label) for row in load(str(tmp_path / "other.csv")).train] == rows
    (tmp_path / "other.csv").write_text(text, "utf-16")
    with pytest.raises(InputError, match=r"other\.csv, line 1: not UTF-8 \(UTF-16\)"):
        load(str(tmp_path / "other.csv"))


def test_several_columns_of_labels_are_refused_by_name(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", 0, 1), ("b", 1, 1)], ("review", "toxic", "threat"))
    with pytest.raises(InputError, match="label_column=toxic,threat: .*several labels for one text are not supported"):
        load(path, label_column="toxic,threat")
    assert load(path, label_column="toxic").task.labels == ("0", "1")
    with pytest.raises(InputError, match="label_separator=;: several labels for one text are not supported"):
        CustomFiles(label_separator=";")
    joined = write_csv(tmp_path / "joined.csv", [("a", "x|y"), ("b", "x"), ("c", "y")])
    assert load(joined, label_separator="none").task.labels == ("x", "x|y", "y")


def test_rows_that_cannot_be_used_can_be_left_out(tmp_path, caplog):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", ""), ("c", "y")])
    assert [(row.index, row.text) for row in load(path, skip_bad_rows=True).train] == [(0, "a"), (2, "c")]
    assert (
        "1 rows are left out; the first: " in caplog.messages[-1]
        and "line 3: the label is empty" in caplog.messages[-1]
    )


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("a.csv", "b,1,1", "line 3: 3 columns, but the header has 2"),
        ("a.csv", "b", "line 3: 1 columns, but the header has 2"),
        ("a.csv", '"b" or c,1', "line 3: ',' expected after '\"'"),
        ("a.csv", "b\rc,1", "line 3: a carriage return in the middle of a row"),
        ("a.csv", "b,NaN", "line 3: the label is 'NaN'"),
        ("a.jsonl", '{"review": "b"}', "stars: no such column; .*line 2 has review"),
        ("a.jsonl", '{"stars": 1}', "review: no such column; .*line 2 has stars"),
        ("a.jsonl", '{"review": "b", "stars"', "line 2: not valid JSON"),
        ("a.jsonl", "[1]", "line 2: holds a list, not an object"),
        ("a.jsonl", '{"review": "b", "stars": ["x", "y"]}', "line 2: 'stars' is a list"),
    ],
)
def test_a_malformed_row_is_left_out_wherever_it_is(tmp_path, caplog, name, bad, reason):
    good = ['{"review": "a", "stars": "x"}', '{"review": "c", "stars": "y"}'] if name == "a.jsonl" else ["a,x", "c,y"]
    header = [] if name == "a.jsonl" else ["review,stars"]
    for rows in ([good[0], bad, good[1]], [*good, bad]):
        (tmp_path / name).write_bytes("\n".join([*header, *rows, ""]).encode())
        with pytest.raises(InputError, match=reason.replace("line 3", r"line \d").replace("line 2", r"line \d")):
            list(load(str(tmp_path / name)).train)
        data = load(str(tmp_path / name), skip_bad_rows=True)
        place = rows.index(good[1])  # rows keep their numbers in the file
        assert [(row.index, row.text, row.label) for row in data.train] == [(0, "a", "x"), (place, "c", "y")]
        assert len([message for message in caplog.messages if "1 rows are left out; the first: " in message]) == 1
        caplog.clear()


def test_skipped_rows_are_logged_once_though_every_pass_reads_them(tmp_path, caplog):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", ""), ("c", "y"), ("d",)])
    data = load(path, skip_bad_rows=True)
    assert len(data.train) == len(list(data.train)) == 2
    (found,) = (message for message in caplog.messages if "left out" in message)
    assert found.startswith(
        f"{path}: 2 rows are left out; the first: {path}, line 3: the label is empty (column 'stars')"
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "review\nx\ny\n", "label_column=stars: no such column"),
        ("a.csv", 'rev"iew,"stars\nx,1\ny,2\n', "line 1: "),
        ("a.csv", 'review,stars\nx,1\n"it begins,1\ny,2\nit ends",1,2\n', "line 3: 3 columns.* one row of 3 lines"),
        (
            "a.csv",
            'review,stars\nx,1\ny,2\n"it begins,1\nz,2\n',
            "line 4: .*not skipped, since a quote makes one row of 2",
        ),
        ("a.tsv", 'review\tstars\n"x\t1\nmore\t2\nand y"\t1\n', "lines 2 and 4: a quote at the beginning of one text"),
        ("a.jsonl", '{"review": "x"}\n{"review": "y"}\n', "no rows; 2 rows are left out; the first: .*no such column"),
    ],
)
def test_what_may_be_wrong_with_the_whole_file_is_not_skipped(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(load(str(tmp_path / name), skip_bad_rows=True).train)


def test_a_row_of_several_lines_is_left_out_where_quotes_enclose_texts(tmp_path):
    path = write_csv(tmp_path / "train.csv", [("a", "x"), ("b\nb", "x", "y"), ("c", "y")])
    assert [row.text for row in load(path, skip_bad_rows=True, quoting="csv").train] == ["a", "c"]


def test_the_main_metric_comes_first(tmp_path):
    train = write_csv(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    assert load(train, main_metric="matthews").task.metrics == ("matthews", "accuracy", "macro_f1")
    with pytest.raises(InputError, match="main_metric=pearson: classification has accuracy, macro_f1, matthews, f1"):
        load(train, main_metric="pearson")


@pytest.mark.parametrize(("first", "text"), [("sep=;\n", "a, b"), ("", "one\rtwo"), ("sep=;\n", "one\rtwo;three")])
def test_what_is_written_in_the_format_of_a_file_is_read_again(tmp_path, first, text):
    path, again = tmp_path / "train.csv", tmp_path / "again.csv"
    path.write_bytes(f'{first}"text, of a film";label\n"{text}";x\n'.encode())
    if not first:
        path.write_bytes(f'text,label\n"{text}",x\n'.encode())
    records = [record for _, record in read_records(path)]
    again.write_bytes(b"".join(written_records(path, "auto", (json.dumps(record).encode() for record in records))))
    assert [record for _, record in read_records(again)] == records and text in records[0].values()


def test_f1_is_of_the_second_of_two_labels(tmp_path, caplog):
    caplog.set_level("INFO", "tinybert_tf")
    load(write_csv(tmp_path / "two.csv", [("a", "ham"), ("b", "spam")]), main_metric="f1")
    assert "f1 is that of the label 'spam', the second in order" in caplog.text
    three = write_csv(tmp_path / "three.csv", [("a", "ham"), ("b", "spam"), ("c", "other")])
    with pytest.raises(
        InputError, match=r"main_metric=f1: is of two labels, but there are 3 \(ham, other, spam\); take"
    ):
        load(three, main_metric="f1")
    assert load(three, main_metric="macro_f1").task.main_metric == "macro_f1"


@pytest.mark.parametrize(
    "content",
    [
        '"review","stars"\n"1,000 items\nGreat","x"\n"bad","y"\n',
        '"Name, Vorname";review;stars\nA;good;x\n"B\nC";"1;2\n3;4";y\n',
    ],
)
def test_what_is_written_is_read_again_by_the_same_settings(tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_text(content, encoding="utf-8")
    records = [record for _, record in read_records(path)]
    lines = ((json.dumps(record) + "\n").encode() for record in records)
    written = b"".join(written_records(path, "auto", lines))
    path.write_bytes(written)
    assert [record for _, record in read_records(path)] == records and len(records) == 2
