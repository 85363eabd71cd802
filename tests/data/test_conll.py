import numpy as np
import pytest

from tinybert_tf.data import batches, label_ids, label_values, load_task
from tinybert_tf.data.conll import read_conll
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.encoding import encode_words
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import score

CONLL = """-DOCSTART- -X- -X- O

the DT B-NP O
cafe NN I-NP B-LOC
was VB B-VP O

badly RB B-X B-PER
\u200d X X O

"""


def write(tmp_path, text, name="train.txt"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def load(train, dev=None):
    return load_task("token_classification", files=CustomFiles(train_file=train, dev_file=dev))


def test_sentences_and_tags_are_read_from_the_first_and_the_last_column(tmp_path):
    path = write(tmp_path, CONLL)
    data = load(path, path)
    assert [(row.text, row.label) for row in data.train] == [
        ("the cafe was", "O B-LOC O"),
        ("badly \u200d", "B-PER O"),
    ]
    assert data.task.labels == ("B-LOC", "B-PER", "O") and data.task.main_metric == "f1"
    assert [row.label for row in data.test] == [None, None]
    tabs = write(tmp_path, CONLL.replace(" ", "\t").replace("\n", "\r\n"), "tabs.txt")
    assert list(load(tabs).train) == list(data.train)


def test_the_last_sentence_needs_no_blank_line_after_it(tmp_path):
    assert [row.text for row in load(write(tmp_path, "a O\n\n\nb X\nc O")).train] == ["a", "b c"]


def test_a_words_tag_stands_at_its_first_piece(tmp_path, tokenizer):
    data = load(write(tmp_path, CONLL))
    features, labels, weights = next(iter(batches(data.train, tokenizer, data.task, batch_size=3)))
    # [CLS] the cafe was [SEP]; [CLS] bad ##ly [UNK] [SEP], for the tokenizer leaves nothing of the last word; filling.
    np.testing.assert_array_equal(
        features["input_word_ids"], [[2, 5, 15, 7, 3, 0, 0, 0], [2, 9, 11, 1, 3, 0, 0, 0], [0] * 8]
    )
    np.testing.assert_array_equal(labels, [[0, 2, 0, 2, 0, 0, 0, 0], [0, 1, 0, 2, 0, 0, 0, 0], [0] * 8])
    np.testing.assert_array_equal(weights, [[0, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0], [0] * 8])
    assert labels.dtype == "int32" and weights.dtype == "float32"


def test_long_sentences_are_cut(tokenizer):
    import tensorflow as tf

    ids, _, labels, weights = encode_words(
        tokenizer, tf.constant(["the badly film", "bad"]), tf.ragged.constant([[1, 2, 3], [4]]), seq_len=5
    )
    assert ids.to_list() == [[2, 5, 9, 11, 3], [2, 9, 3]]
    assert labels.to_list() == [[0, 1, 2, 0, 0], [0, 4, 0]]
    assert weights.to_list() == [[0, 1, 1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: 'b' has no tag"),
        ("New York\tB-LOC\nb\tO\n", "line 1: 'New York' holds a space"),
        ("\n\n", "no sentences"),
        ("", "no sentences"),
        ("a O\nb O\n", "every label is 'O'"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        list(load(write(tmp_path, text)).train)


def test_a_tag_that_training_did_not_have_counts_as_missed(tmp_path, caplog, tokenizer):
    dev = write(tmp_path, "a O\nb B-LOC\n\nc B-PER", "dev.txt")
    data = load(write(tmp_path, "a O\nb B-PER\n"), dev)
    assert data.task.labels == ("B-PER", "O") and data.task.unseen == ("B-LOC",)
    assert "1 words have tags that training lacks (B-LOC); they count as missed" in caplog.messages[0]
    assert label_ids(data.task, {"O": 0, "B-PER": 1}) == {"O": 0, "B-PER": 1, "B-LOC": 2}
    _, labels, weights = next(iter(batches(data.dev, tokenizer, data.task, batch_size=2, in_order=True)))
    np.testing.assert_array_equal(labels[:, :4], [[0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(weights[:, :4], [[0, 1, 0, 0], [0, 1, 0, 0]])
    truth = label_values(list(data.dev), data.task, label_ids(data.task, None))
    logits = [np.array([[0, 1], [1, 0]]), np.array([[1, 0]])]  # O B-PER; B-PER
    assert score(data.task, logits, truth)["recall"] == 0.5


@pytest.mark.parametrize(
    ("dev", "message"),
    [("a X\n", "has the tags X, none of which training had: B-PER, O"), ("1\ta\n2\tb\n", "has the tags a, b, none")],
)
def test_a_file_with_other_tags_is_predicted_and_not_scored(tmp_path, dev, message):
    data = load(write(tmp_path, "a O\nb B-PER\n"), write(tmp_path, dev, "dev.txt"))
    words = "a b" if "\t" in dev else "a"
    assert [(row.text, row.label) for row in data.test] == [(words, None)]
    assert [row.label for row in data.train] == ["O B-PER"]
    for _ in range(2):
        with pytest.raises(InputError, match=message):
            list(data.dev)


UD = """# sent_id = 1
# text = He'd run
1-2\tHe'd\t_\t_\t_\t_\t_\t_\t_\t_
1\tHe\the\tPRON\tPRP\tCase=Nom\t3\tnsubj\t_\t_
2\t'd\twill\tAUX\tMD\t_\t3\taux\t_\t_
3\trun\trun\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tfast\tfast\tADV\t_\t_\t_\t_\t_\t_

# sent_id = 2
1\tin spite\tin\tADP\tIN\t_\t0\troot\t_\t_
"""


def test_conllu_is_recognized(tmp_path):
    path = write(tmp_path, UD)
    assert [(row.text, row.label) for row in load(path).train] == [
        ("He 'd run", "PRON AUX VERB"),
        ("in\u00a0spite", "ADP"),
    ]
    for column in ("xpos", "XPOS", "5"):
        data = load_task("token_classification", files=CustomFiles(train_file=path, tag_column=column))
        assert [row.label for row in data.train] == ["PRP MD VB", "IN"]
    with pytest.raises(InputError, match="tag_column=ner: no such column; .* has 1 to 10 or id, form"):
        load_task("token_classification", files=CustomFiles(train_file=path, tag_column="ner"))
    plus = write(tmp_path, "# global.columns = ID FORM NER\n# a text\n1\tOslo\tB-LOC\n2\tis\tO\n")
    data = load_task("token_classification", files=CustomFiles(train_file=plus, tag_column="ner"))
    assert [(row.text, row.label) for row in data.train] == [("Oslo is", "B-LOC O")]


def test_comments_and_columns_of_other_layouts(tmp_path):
    path = write(tmp_path, "# id 7\tdomain=en\nEU NNP B-ORG\n# SYM O\n\n# id 8 domain=en x\nhe PRP O\n")
    assert [(row.text, row.label) for row in load(path).train] == [("EU #", "B-ORG O"), ("he", "O")]
    data = load_task("token_classification", files=CustomFiles(train_file=path, tag_column="2"))
    assert [row.label for row in data.train] == ["NNP SYM", "PRP"]
    with pytest.raises(InputError, match="tag_column=4: no such column; .* has 1 to 3"):
        load_task("token_classification", files=CustomFiles(train_file=path, tag_column="4"))


@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_counts_words_is_no_word(tmp_path, first, caplog):
    """GermEval 2014's layout, with two columns of tags."""
    rows = ("Anna\tB-PER\tO", "aus\tO\tO", "Oslo\tB-LOC\tB-LOCpart")
    numbered = "".join(f"{number}\t{row}\n" for number, row in enumerate(rows, first))
    path = write(tmp_path, f"#\thttp://x [2009]\n{numbered}\n#\thttp://y [2009]\n{numbered}")
    found = [(row.text, row.label) for row in load(path).train]
    assert found == [("Anna aus Oslo", "O O B-LOCpart")] * 2
    assert "column 1 counts the words, which are column 2; the tags are column 4" in caplog.messages[0]
    data = load_task("token_classification", files=CustomFiles(train_file=path, tag_column="3"))
    assert [row.label for row in data.train] == ["B-PER O B-LOC"] * 2


def test_numbers_of_words_may_have_gaps_and_ranges(tmp_path):
    sentences = ["1\tAnna\tB-PER\n2\truns\tO\n"] * 18
    sentences += ["1-2\tzum\t_\n1\tzu\tO\n2\tdem\tO\n2.1\t_\t_\n", "1\the\tO\n3\tleft\tO\n"]
    found = [(row.text, row.label) for row in load(write(tmp_path, "\n".join(sentences))).train]
    assert found == [("Anna runs", "B-PER O")] * 18 + [("zu dem", "O O"), ("he left", "O O")]


def test_comments_of_one_word_between_lines_with_tabs(tmp_path):
    path = write(tmp_path, "# newdoc\n# newpar\nEU\tB-ORG\n#\tO\n\n# newpar\nhe\tO\n")
    assert [(row.text, row.label) for row in load(path).train] == [("EU #", "B-ORG O"), ("he", "O")]
    plus = write(tmp_path, "# global.columns = FORM NER\n# newdoc\nOslo\tB-LOC\nis\tO\n")
    data = load_task("token_classification", files=CustomFiles(train_file=plus, tag_column="ner"))
    assert [(row.text, row.label) for row in data.train] == [("Oslo is", "B-LOC O")]


def test_numbers_are_words_where_they_do_not_count(tmp_path):
    path = write(tmp_path, "1 CD O\n2 CD B-x\n\n7 CD O\n2 CD O\n")
    assert [row.text for row in load(path).train] == ["1 2", "7 2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nNew York B-LOC\n", "line 2: 3 columns, but lines before it have 2; a line holds one word"),
        ("word tag\na O\nb B-X\n", r"line 1: looks like a header \(word tag\); remove it"),
        ("sentence_id\tword\ttag\n1\tEU\tB-ORG\n", "line 1: looks like a header"),
        ("\nToken\tPOS\tNER\na\tN\tO\n", "line 2: looks like a header"),
    ],
)
def test_headers_and_words_with_spaces_are_refused(tmp_path, text, message):
    (tmp_path / "train.conll").write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_conll(tmp_path / "train.conll"))


def test_an_empty_column_between_tabs_keeps_its_place(tmp_path):
    path = write(tmp_path, "Anna\tNNP\tB-PER\tx\nruns\t\tO\t\n\t\t\t\nOslo\tNNP\tB-LOC\t\n")
    data = load_task("token_classification", files=CustomFiles(train_file=path, tag_column="3"))
    assert [(row.text, row.label) for row in data.train] == [("Anna runs", "B-PER O"), ("Oslo", "B-LOC")]
    numbered = write(tmp_path, UD.replace("\tHe\the\t", "\tHe\t\t"))
    assert [row.label for row in load(numbered).train] == ["PRON AUX VERB", "ADP"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b\tN\t", r"line 2: the tag is empty \(column 3\); fill it in"),
        ("\tN\tO", r"line 2: the word is empty \(column 1\); fill it in"),
        ("b\tO", "line 2: 2 columns, but lines before it have 3; write every column, also those that are empty"),
    ],
)
def test_a_missing_column_between_tabs_is_refused(tmp_path, line, message):
    (tmp_path / "train.conll").write_text(f"a\tN\tO\n{line}\nc\tN\tB-X\n")
    with pytest.raises(InputError, match=message):
        list(read_conll(tmp_path / "train.conll"))


@pytest.mark.parametrize("text", ["Anna\nruns\n", "# global.columns = ID FORM\n1\tAnna\n2\truns\n"])
def test_words_without_tags_can_be_predicted_with_any_tag_column(tmp_path, text):
    (tmp_path / "dev.conll").write_text(text)
    for column in ("2", "ner"):
        found = list(read_conll(tmp_path / "dev.conll", column, has_tags=False))
        assert [(row.text, row.label) for row in found] == [("Anna runs", None)]


def test_a_tag_column_that_holds_the_words_is_refused(tmp_path):
    (tmp_path / "train.conll").write_text("a N O\nb N B-X\n")
    with pytest.raises(InputError, match="tag_column=1: holds the words of .*train.conll; name the column of the tags"):
        list(read_conll(tmp_path / "train.conll", "1"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b", "'b' has no tag"),
        ("New York B-LOC", "3 columns, but lines before it have 2"),
        ("New York\tB-LOC", "'New York' holds a space"),
        ("b\t", "the tag is empty"),
    ],
)
def test_sentences_with_a_malformed_line_can_be_left_out(tmp_path, caplog, line, reason):
    path = write(tmp_path, f"a O\n\nc O\n{line}\nd O\n\ne B-LOC\n")
    with pytest.raises(InputError, match=f"line 4: {reason}"):
        list(load(path).train)
    data = load_task("token_classification", files=CustomFiles(train_file=path, dev_file=path, skip_bad_rows=True))
    for split in (data.train, data.dev):
        assert [(row.index, row.text, row.label) for row in split] == [(0, "a", "O"), (2, "e", "B-LOC")]
    found = [message for message in caplog.messages if "1 sentences are left out; the first: " in message]
    assert len(found) == 1 and f"line 4: {reason}" in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word tag\n\na O\nb B-X\n", "line 1: looks like a header"),
        ("a\n\nb O\nc O\n", r"no sentences; 2 sentences are left out; the first: .*line 1: 'a' has no tag"),
    ],
)
def test_a_header_or_a_file_without_a_good_sentence_is_not_skipped(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message):
        list(read_conll(path, skip_bad_rows=True))
