"""Others open our directories and compute the same: KerasHub, and transformers where it is installed."""

import json

import keras
import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model, save_model

TASKS = {
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
}


def as_numpy(outputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


@pytest.mark.parametrize("head", ["encoder", "classification"])
def test_keras_hub_computes_the_same(network, features, head, tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    model = network(head, hidden_act="gelu_pytorch_tanh")  # the only GELU that KerasHub's BERT has
    save_model(model, tmp_path / "model")
    theirs = keras_hub.models.BertBackbone.from_preset(str(tmp_path / "model"))
    renamed = {
        "token_ids": features["input_word_ids"],
        "padding_mask": features["input_mask"],
        "segment_ids": features["input_type_ids"],
    }
    expected = as_numpy(theirs(renamed))
    ours, real = as_numpy(model(features)), features["input_mask"].astype(bool)
    np.testing.assert_allclose(ours["sequence_output"][real], expected["sequence_output"][real], atol=1e-4)
    np.testing.assert_allclose(ours["pooled_output"], expected["pooled_output"], atol=1e-4)


@pytest.fixture
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def their_outputs(transformers, auto_class, directory, features):
    import torch

    model, report = getattr(transformers, auto_class).from_pretrained(
        directory, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] or set(report["missing_keys"]) <= {"cls.predictions.decoder.bias"}, report
    renamed = {
        "input_ids": features["input_word_ids"],
        "attention_mask": features["input_mask"],
        "token_type_ids": features["input_type_ids"],
    }
    with torch.no_grad():
        return model.eval()(**{k: torch.tensor(v) for k, v in renamed.items()}, output_hidden_states=True)


@pytest.mark.parametrize("head", TASKS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_transformers_computes_the_same_logits(transformers, network, features, head, activation, tmp_path):
    labels = {"label2id": None} if head == "regression" else {}
    model = network(head, hidden_act=activation, **labels)
    save_model(model, tmp_path / "model")
    theirs = their_outputs(transformers, TASKS[head], tmp_path / "model", features)
    ours, real = as_numpy(model(features)), features["input_mask"].astype(bool)
    for state, expected in zip(ours["hidden_states"], theirs.hidden_states, strict=True):
        np.testing.assert_allclose(state[real], expected.numpy()[real], atol=1e-4)
    if head == "span":
        expected = np.stack([theirs.start_logits, theirs.end_logits], axis=-1)
    else:
        expected = theirs.logits.numpy()
    np.testing.assert_allclose(ours["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("head", TASKS)
def test_what_transformers_saves_is_read(transformers, features, head, tmp_path):
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
        num_labels={"regression": 1, "span": 2}.get(head, 3),
    )
    getattr(transformers, TASKS[head]).from_config(config).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.head == head
    theirs = their_outputs(transformers, TASKS[head], tmp_path, features)
    expected = np.stack([theirs.start_logits, theirs.end_logits], -1) if head == "span" else theirs.logits.numpy()
    np.testing.assert_allclose(as_numpy(model(features))["logits"], expected, atol=1e-4)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
