"""One function loads every kind of checkpoint, and says what it looked for where there is none."""

import json

import pytest

from tinybert_tf import presets
from tinybert_tf.checkpoints import load_model, read_config, save_model
from tinybert_tf.errors import InputError


def test_a_directory_without_a_model_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(InputError) as error:
        load_model(tmp_path)
    assert all(word in str(error.value) for word in (str(tmp_path), "config.json", "bert_config.json", "index"))


def test_a_configuration_without_a_checkpoint_is_no_model(tmp_path):
    (tmp_path / "bert_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"needs one TensorFlow checkpoint.*has none"):
        load_model(tmp_path)


def test_a_model_in_a_package_goes_by_its_name(network, difference, monkeypatch, tmp_path):
    model = network()
    save_model(model, tmp_path / "model")
    monkeypatch.setattr(presets, "_folders", lambda name, preset: [tmp_path / "model"])
    assert difference(model, load_model("minilm_l6")) == 0
    assert read_config("minilm_l6")[0] == model.config


def test_neither_a_directory_nor_a_preset_is_answered_with_both():
    with pytest.raises(InputError, match=r"no/such/model: no such directory, and no preset of that name"):
        load_model("no/such/model")


def test_labels_are_matched_as_published_models_spell_them(network, difference, tmp_path, caplog):
    model, directory = network(), tmp_path / "model"
    save_model(model, directory)
    config = json.loads((directory / "config.json").read_text())
    config["label2id"] = {label.upper(): row for label, row in config["label2id"].items()}
    config["id2label"] = {row: label.upper() for row, label in config["id2label"].items()}
    (directory / "config.json").write_text(json.dumps(config))
    again = load_model(directory, label2id=model.config.label2id)
    assert difference(model, again, ["logits"]) == 0 and again.config.label2id == model.config.label2id
    assert "initialized at random" not in caplog.text
