"""KerasHub opens our directories, and we open its presets."""

import errno
import json
import os

import keras_hub
import numpy as np
import pytest

from tinybert_tf.checkpoints import kerashub, load_model, read_config, save_model
from tinybert_tf.errors import InputError
from tinybert_tf.tokenizer_files import open_vocabulary


def compare(ours, backbone, features):
    outputs = ours(features)
    names = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
    expected = backbone({names[name]: value for name, value in features.items()})
    real = features["input_mask"].astype(bool)
    for name, where in (("sequence_output", real), ("pooled_output", slice(None))):
        assert np.abs(np.asarray(outputs[name]) - np.asarray(expected[name]))[where].max() < 1e-4


@pytest.fixture
def backbone():
    """A small KerasHub encoder with no weight at its trivial starting value."""
    model = keras_hub.models.BertBackbone(50, 2, 3, 24, 40, dropout=0.2, max_sequence_length=16)
    for weight in model.weights:
        weight.assign(np.random.normal(scale=0.3, size=weight.shape))
    return model


@pytest.mark.parametrize("head", ["encoder", "classification", "masked_lm"])
def test_kerashub_opens_our_directory(network, vocabulary, features, head, tmp_path):
    model = network(head, hidden_act="gelu_pytorch_tanh")
    save_model(model, tmp_path / "model", tokenizer_from=vocabulary)
    compare(model, keras_hub.models.BertBackbone.from_preset(str(tmp_path / "model")), features)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(tmp_path / "model"))
    np.testing.assert_array_equal(tokenizer(["Word1 word2"])[0], [6, 7])


def test_we_open_a_preset_directory(backbone, features, tmp_path):
    backbone.save_to_preset(str(tmp_path))
    model = load_model(tmp_path)
    assert (model.head, model.config.hidden_dropout_prob) == ("encoder", 0.2)
    compare(model, backbone, features)


def test_a_classifier_of_kerashub_is_a_teacher(backbone, vocabulary, tmp_path):
    words = str(vocabulary / "vocab.txt")
    tokenizer = keras_hub.models.BertTokenizer(words, lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16)
    classifier = keras_hub.models.BertTextClassifier(backbone, num_classes=3, preprocessor=preprocessor)
    classifier.save_to_preset(str(tmp_path / "preset"))
    config, head = read_config(tmp_path / "preset")
    assert (head, config.hidden_size, config.num_labels) == ("classification", 24, 3)
    ours = open_vocabulary(tmp_path / "preset")
    assert ours.words == open_vocabulary(vocabulary).words and ours.lower_case


def test_a_preset_can_take_a_head(backbone, tmp_path):
    backbone.save_to_preset(str(tmp_path))
    assert load_model(tmp_path, head="classification", label2id={"no": 0, "yes": 1}).head == "classification"


def test_a_preset_becomes_a_model_directory(backbone, vocabulary, features, tmp_path):
    backbone.save_to_preset(str(tmp_path / "preset"))
    tokenizer = keras_hub.models.BertTokenizer(str(vocabulary / "vocab.txt"), lowercase=True)
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    save_model(load_model(tmp_path / "preset"), tmp_path / "model", tokenizer_from=tmp_path / "preset")
    assert (tmp_path / "model" / "vocab.txt").read_text() == (vocabulary / "vocab.txt").read_text()
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())["do_lower_case"] is True
    compare(load_model(tmp_path / "model"), backbone, features)


def test_a_preset_by_name_comes_from_kerashub(backbone, features, monkeypatch):
    """Without the network: from_preset is where KerasHub would fetch it."""
    asked = []
    monkeypatch.setattr(keras_hub.models.BertBackbone, "from_preset", lambda name, **_: asked.append(name) or backbone)
    compare(load_model("bert_tiny_en_uncased"), backbone, features)
    assert asked == ["bert_tiny_en_uncased"]


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("Max retries\nexceeded")

    monkeypatch.setattr(keras_hub.models.BertBackbone, "from_preset", offline)
    with pytest.raises(InputError) as error:
        load_model("bert_tiny_en_uncased")
    message = str(error.value)
    assert "\n" not in message
    assert all(
        word in message for word in ("bert_tiny_en_uncased", "ConnectionError", "check the name and the connection")
    )


def test_a_full_disk_is_not_blamed_on_the_connection(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras_hub.models.BertBackbone, "from_preset", full)
    with pytest.raises(InputError, match=r"bert_tiny_en_uncased: .*No space left on device\); see to the disk"):
        load_model("bert_tiny_en_uncased")


def test_a_preset_without_weights_is_one_line(backbone, tmp_path):
    backbone.save_to_preset(str(tmp_path))
    (tmp_path / "model.weights.h5").unlink()
    with pytest.raises(InputError, match=r"KerasHub cannot load this preset \(.*write it again"):
        load_model(tmp_path)


def test_a_hugging_face_handle_is_not_bent_into_a_preset():
    with pytest.raises(InputError, match=r"hf://.*give the directory"):
        kerashub.read("hf://someone/bert")


@pytest.mark.parametrize(("classes", "head"), [(3, "classification"), (1, "regression")])
def test_a_saved_classifier_keeps_its_classifier(backbone, features, classes, head, tmp_path):
    classifier = keras_hub.models.BertTextClassifier(backbone, num_classes=classes, dropout=0.3)
    classifier.save_to_preset(str(tmp_path))
    model = load_model(tmp_path)
    assert (model.head, model.config.classifier_dropout) == (head, 0.3)
    names = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
    expected = classifier({names[name]: value for name, value in features.items()})
    np.testing.assert_allclose(model(features)["logits"], expected, atol=1e-4)
