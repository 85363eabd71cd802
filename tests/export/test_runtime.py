"""Files that are no exported model, and rows that do not fit, are named in one line."""

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteModel, export_tflite, read_metadata
from tinybert_tf.export.writer.text_input import convert


@pytest.mark.parametrize("read", [TFLiteModel, read_metadata])
def test_what_is_no_tflite_file_is_refused(read, tmp_path):
    with pytest.raises(InputError, match=r"missing.tflite: no such file"):
        read(tmp_path / "missing.tflite")
    for name, content in {"empty": b"", "text": b"input_word_ids,input_mask"}.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}.tflite: not a TFLite file"):
            read(path)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_refused(kept, exported, tmp_path):
    with open(exported().path, "rb") as file:
        content = file.read()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"cut.tflite: damaged .*; export or copy it again") as caught:
        TFLiteModel(path)
    assert "\n" not in str(caught.value)


def test_a_file_with_other_inputs_is_refused(tmp_path):
    function = tf.function(lambda pixels: {"y": pixels * 2.0}, input_signature=[tf.TensorSpec((1, 4), name="pixels")])
    path = tmp_path / "other.tflite"
    path.write_bytes(convert(function))
    with pytest.raises(InputError, match=r"other.tflite: the signature's inputs are pixels, not input_word_ids"):
        TFLiteModel(path)


def test_features_that_do_not_fit_are_refused(exported, features):
    model = TFLiteModel(exported().path)
    with pytest.raises(InputError, match="lack input_type_ids"):
        model.predict({name: value for name, value in features.items() if name != "input_type_ids"})
    longer = {name: value.repeat(2, axis=1) for name, value in features.items()}
    with pytest.raises(InputError, match="takes 12 tokens, a row has 24"):
        model.predict(longer)


def test_no_token_is_cut_off_behind_padding(model_dir, tmp_path, features):
    """Rows whose padding stands before the text are read as they stand, or refused."""
    export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=(12, 6))
    model, network = TFLiteModel(tmp_path / "a.tflite"), load_model(model_dir())
    turned = {name: value[1:, ::-1] for name, value in features.items()}  # 9, 5 and 2 tokens at the end
    expected = tf.nn.softmax(network(turned)["logits"]).numpy()
    np.testing.assert_allclose(model.predict(turned), expected, atol=1e-5)
    behind = {name: np.pad(value, ((0, 0), (0, 4))) for name, value in turned.items()}
    np.testing.assert_allclose(model.predict(behind), expected, atol=1e-5)
    before = {name: np.pad(value, ((0, 0), (4, 0))) for name, value in turned.items()}
    with pytest.raises(InputError, match="takes 12 tokens, a row has 16 with all before its last; tokenize to that"):
        model.predict(before)
