"""Texts in, scores out: right for whatever is a text, one clear error for what is none."""

import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteClassifier, export_tflite

TEXTS = ["w1 w2 film", "Film, w3!", "caf\u00e9 w9", "", "w4 " * 10_000, "a\x00b w5", "\U0001f600 w6", "w7ly"]
PAIRS = ["w3 w4", "", "w1 " * 50, "w2", "film", "w7", "w8", "w9"]


def keras_scores(folder, texts, pairs=None):
    import tensorflow as tf

    model = load_model(folder)
    logits = model(Tokenizer.from_directory(folder)(texts, pairs, seq_len=12), training=False)["logits"]
    return (tf.nn.softmax(logits) if model.head == "classification" else logits).numpy()


@pytest.fixture(scope="module")
def classifier(exported):
    return tb.TFLiteClassifier(exported().path)


def test_it_needs_nothing_but_the_file(classifier, model_dir):
    """The same tokens as in training, whatever the text: equal probabilities."""
    expected = keras_scores(model_dir(), TEXTS)
    np.testing.assert_allclose(classifier.predict(TEXTS), expected, atol=1e-5)
    assert classifier.labels == ("bad", "good", "so so")
    assert classifier.classify(TEXTS) == [classifier.labels[index] for index in expected.argmax(axis=-1)]
    assert classifier.seq_len == 12


def test_pairs_and_single_texts(classifier, model_dir):
    np.testing.assert_allclose(classifier.predict(TEXTS, PAIRS), keras_scores(model_dir(), TEXTS, PAIRS), atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(TEXTS[0]), classifier.predict(TEXTS[:1]))
    np.testing.assert_array_equal(classifier.predict(TEXTS[2].encode()), classifier.predict(TEXTS[2]))
    assert classifier.predict([]).shape == (0, 3)


def test_a_regressor_gives_values(exported, model_dir):
    regressor = TFLiteClassifier(exported("regression").path)
    np.testing.assert_allclose(
        regressor.predict(TEXTS, PAIRS), keras_scores(model_dir("regression"), TEXTS, PAIRS), atol=1e-5
    )
    assert regressor.labels is None
    assert regressor.predict([]).shape == (0, 1)
    with pytest.raises(InputError, match="a regressor has no labels"):
        regressor.classify(TEXTS)


@pytest.mark.parametrize(
    ("texts", "pairs", "message"),
    [
        (["w1", b"\xff\xfe"], None, r"text 2: not UTF-8 \(invalid start byte at byte 0\)"),
        (["w1"], [b"good \xc3"], r"text pair 1: not UTF-8"),
        (["\ud800"], None, r"text 1: not UTF-8"),
        ([3], None, r"text 1: int, not a text"),
        (["w1", "w2"], ["w3"], r"2 texts, but 1 text pairs"),
    ],
)
def test_what_is_no_text_is_named(texts, pairs, message, classifier):
    with pytest.raises(InputError, match=message) as caught:
        classifier.predict(texts, pairs)
    assert "\n" not in str(caught.value)


def test_what_would_be_read_as_its_names_is_no_text(classifier):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"w1": TEXTS})
    for texts, found in ((table, "a DataFrame"), ({"w1": TEXTS}, "a dict"), (None, "missing"), (3, "a int")):
        with pytest.raises(InputError, match=f"texts is {found}; give a list of texts, or one column of a table"):
            classifier.predict(texts)
    with pytest.raises(InputError, match="text_pairs is a DataFrame; give a list of texts"):
        classifier.predict(TEXTS, table)
    np.testing.assert_array_equal(classifier.predict(table["w1"]), classifier.predict(TEXTS))


@pytest.mark.parametrize("given", [{"w1": TEXTS}, 3, b"w1"])
def test_what_is_no_list_of_texts_calibrates_nothing(given, model_dir, tmp_path):
    with pytest.raises(InputError, match=f"calibration_texts is a {type(given).__name__}; give a list of texts or of"):
        export_tflite(model_dir(), tmp_path / "a.tflite", quantize="int8", calibration_texts=given)


def test_files_without_scores_or_words_are_refused(exported):
    with pytest.raises(InputError, match="returns end_logits, start_logits, not one score for each label of a text"):
        TFLiteClassifier(exported("span").path)
    with pytest.raises(InputError, match="returns scores of each token, not one for each label of a text"):
        TFLiteClassifier(exported("token_classification").path)


@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_the_tokenizer_in_the_file_cuts_as_in_training(pairs, model_dir, tmp_path):
    form = "single" if pairs is None else "pair"
    report = export_tflite(model_dir(), tmp_path / "text.tflite", seq_len=12, text_input=form)
    classifier = TFLiteClassifier(report.path)
    assert classifier.seq_len is None
    found = classifier.predict(TEXTS, pairs)
    np.testing.assert_allclose(found, keras_scores(model_dir(), TEXTS, pairs), atol=1e-5)
    with pytest.raises(InputError, match="takes single texts" if pairs is None else "takes pairs of texts"):
        classifier.predict(TEXTS, PAIRS if pairs is None else None)


def test_tags_of_texts_are_no_scores_of_a_text_either(model_dir, tmp_path):
    report = export_tflite(model_dir("token_classification"), tmp_path / "tags.tflite", seq_len=12, text_input="single")
    with pytest.raises(InputError, match="returns scores of each token, not one for each label of a text") as caught:
        TFLiteClassifier(report.path)
    assert "\n" not in str(caught.value)
