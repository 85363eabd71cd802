import numpy as np
import pytest

from tinybert_tf.data import batches, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.encoding import encode_words
from tinybert_tf.errors import InputError

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
        ("a O\nb O\n", "every label is 'O'"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        list(load(write(tmp_path, text)).train)


def test_a_tag_that_training_did_not_have_is_named(tmp_path):
    dev = write(tmp_path, "a O\nb B-LOC\n", "dev.txt")
    with pytest.raises(InputError, match=r"dev\.txt, line 2: unknown tag 'B-LOC'; training had B-PER, O"):
        list(load(write(tmp_path, "a O\nb B-PER\n"), dev).dev)
