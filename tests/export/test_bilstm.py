"""A BiLSTM's file answers like Keras, with builtin operators and without a state that outlives a call."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import REPOSITORY
from tinybert_tf.bert import BiLstmConfig, BiLstmModel
from tinybert_tf.checkpoints import save_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteClassifier, TFLiteModel, export_tflite

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(59))]
TOLERANCES = {"none": 1e-6, "float16": 1e-3, "dynamic": 1e-2, "int8": 1e-2}


@pytest.fixture
def tokenizer_dir(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


@pytest.fixture
def bilstm():
    keras.utils.set_random_seed(1)
    model = BiLstmModel(BiLstmConfig(len(WORDS), {"no": 0, "yes": 1}, embedding_size=20, units=24, hidden_size=16))
    for weight in model.trainable_variables:
        weight.assign_add(tf.random.normal(weight.shape, stddev=0.2))
    return model


@pytest.fixture
def features():
    ids = np.random.default_rng(0).integers(5, len(WORDS), (4, 10)).astype(np.int32)
    mask = (np.arange(10) < np.array([[10], [7], [2], [9]])).astype(np.int32)
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}


@pytest.mark.parametrize("quantize", TOLERANCES)
def test_a_file_answers_like_keras_whatever_it_was_asked_before(bilstm, features, tokenizer_dir, tmp_path, quantize):
    report = export_tflite(bilstm, tmp_path / "b.tflite", seq_len=10, quantize=quantize, tokenizer_from=tokenizer_dir)
    assert not any(name in report.operators for name in ("WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "CUSTOM"))
    expected = tf.nn.softmax(bilstm(features)["logits"]).numpy()
    assert expected[:, 0].std() > 0.02, "the network tells its inputs apart"
    model = TFLiteModel(tmp_path / "b.tflite")
    for _ in range(2):
        np.testing.assert_allclose(model.predict(features), expected, atol=TOLERANCES[quantize])


def test_a_file_has_its_vocabulary_labels_and_several_lengths(bilstm, tokenizer_dir, tmp_path):
    export_tflite(bilstm, tmp_path / "b.tflite", seq_len=10, tokenizer_from=tokenizer_dir)
    assert TFLiteClassifier(tmp_path / "b.tflite").classify(["w1 w2 w3"])[0] in ("no", "yes")
    report = export_tflite(bilstm, tmp_path / "c.tflite", seq_len=[10, 6], tokenizer_from=tokenizer_dir)
    assert report.seq_lens == (10, 6)


@pytest.mark.parametrize("is_bilstm", [True, False])
def test_only_a_file_that_example_texts_improve_is_said_to_be_more_faithful_with_them(
    bilstm, model_dir, tokenizer_dir, tmp_path, capsys, is_bilstm
):
    """The weights of a BiLSTM are rounded to the nearest whatever is given."""
    if is_bilstm:
        save_model(bilstm, tmp_path / "model", tokenizer_from=tokenizer_dir)
    directory = tmp_path / "model" if is_bilstm else model_dir()
    spec = importlib.util.spec_from_file_location("convert", REPOSITORY / "tflite" / "convert.py")
    convert = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(convert)
    settings = {
        "model_dir": str(directory),
        "output": str(tmp_path / "a.tflite"),
        "seq_len": "8",
        "quantize": "dynamic",
    }
    result = convert.main(convert.ConvertSettings(**settings))
    assert result["calibrated"] is (None if is_bilstm else False)
    assert ("with --task or --calibration_file the file is more faithful" in capsys.readouterr().out) == (not is_bilstm)


@pytest.mark.parametrize("given", [{"text_input": "single"}, {"output_vector": "mean"}])
def test_what_only_a_bert_has_is_refused(bilstm, tokenizer_dir, tmp_path, given):
    with pytest.raises(InputError, match=f"{next(iter(given))}=.*is a BiLSTM"):
        export_tflite(bilstm, tmp_path / "b.tflite", seq_len=10, tokenizer_from=tokenizer_dir, **given)


def test_weights_that_went_wrong_give_no_file(bilstm, tokenizer_dir, tmp_path):
    bilstm.lstm.forward_layer.cell.kernel.assign(np.full((20, 96), np.inf))
    with pytest.raises(InputError, match=r"the model 'bilstm': tensor lstm.forward.kernel holds NaN or infinity"):
        export_tflite(bilstm, tmp_path / "b.tflite", seq_len=10, quantize="dynamic", tokenizer_from=tokenizer_dir)
    assert not (tmp_path / "b.tflite").exists()


def test_a_lora_is_exported_with_its_kernel(bilstm, features, tokenizer_dir, tmp_path):
    before = bilstm(features)["logits"].numpy()
    bilstm.hidden_layer.enable_lora(2)
    bilstm.hidden_layer.lora_kernel_b.assign(np.random.normal(size=(2, 16)))
    export_tflite(bilstm, tmp_path / "b.tflite", seq_len=10, tokenizer_from=tokenizer_dir)
    logits = bilstm(features)["logits"].numpy()
    assert np.abs(logits - before).max() > 0.01
    np.testing.assert_allclose(TFLiteModel(tmp_path / "b.tflite").predict(features), tf.nn.softmax(logits), atol=1e-6)
