"""TF-Models' object checkpoints, written by TF-Models."""

import json

import numpy as np
import pytest

pytest.importorskip("official.nlp.modeling.networks")
import tensorflow as tf
import tf_keras
from official.nlp.modeling import models, networks

from tinybert_tf.checkpoints import load_model

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}


@pytest.fixture
def build(features):
    """A function that builds a TF-Models encoder of the given kind with no weight at its trivial starting value."""

    def make(kind):
        encoder = kind(
            vocab_size=50,
            hidden_size=24,
            num_layers=2,
            num_attention_heads=3,
            max_sequence_length=16,
            type_vocab_size=2,
            dict_outputs=True,
            **{"intermediate_size" if kind is networks.BertEncoder else "inner_dim": 40},
        )
        encoder(features)
        encoder.set_weights([np.random.normal(scale=0.3, size=weight.shape) for weight in encoder.weights])
        return encoder

    return make


def write(directory, **objects):
    tf.train.Checkpoint(**objects).save(str(directory / "bert_model.ckpt"))
    (directory / "bert_config.json").write_text(json.dumps(SIZES))
    return directory


def check_encoder(ours, theirs, features):
    outputs, expected = ours(features), theirs(features)
    real = features["input_mask"].astype(bool)
    for state, other in zip(outputs["hidden_states"][1:], expected["encoder_outputs"], strict=True):
        assert np.abs(np.asarray(state) - np.asarray(other))[real].max() < 1e-4
    np.testing.assert_allclose(outputs["pooled_output"], expected["pooled_output"], atol=1e-4)


@pytest.mark.parametrize("name", ["encoder", "model"])
@pytest.mark.parametrize("kind", [networks.BertEncoderV2, networks.BertEncoder])
def test_an_encoder_loads_under_any_name(build, features, kind, name, caplog, tmp_path):
    encoder = build(kind)
    model = load_model(write(tmp_path, **{name: encoder}))
    assert model.head == "encoder"
    check_encoder(model, encoder, features)
    assert not [record for record in caplog.records if record.name.startswith("tinybert_tf")]


@pytest.mark.filterwarnings("ignore:Input dict contained keys")
@pytest.mark.parametrize("as_items", [True, False])
@pytest.mark.parametrize("kind", [networks.BertEncoderV2, networks.BertEncoder])
def test_a_pretrainer_loads_with_its_masked_lm(build, features, kind, as_items, tmp_path):
    encoder = build(kind)
    activation = tf_keras.activations.get(lambda x: tf_keras.activations.gelu(x, approximate=True))
    pretrainer = models.BertPretrainerV2(encoder_network=encoder, mlm_activation=activation)
    everywhere = features | {"masked_lm_positions": np.tile(np.arange(9, dtype=np.int32), (3, 1))}
    pretrainer(everywhere)
    for weight in pretrainer.weights:
        if weight.shape.rank == 1:
            weight.assign_add(np.random.normal(scale=0.2, size=weight.shape))
    expected = pretrainer(everywhere)["mlm_logits"]
    objects = pretrainer.checkpoint_items if as_items else {"model": pretrainer}
    model = load_model(write(tmp_path, **objects))
    assert model.head == "masked_lm"
    check_encoder(model, encoder, features)
    real = features["input_mask"].astype(bool)
    assert np.abs(np.asarray(model(features)["logits"]) - np.asarray(expected))[real].max() < 1e-4


def test_a_checkpoint_of_a_training_run_loads_its_latest_weights(build, features, caplog, tmp_path):
    encoder = build(networks.BertEncoderV2)
    optimizer = tf_keras.optimizers.legacy.Adam()
    optimizer.apply_gradients((tf.ones_like(weight), weight) for weight in encoder.trainable_weights)
    checkpoint = tf.train.Checkpoint(encoder=encoder, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    manager.save()
    encoder.set_weights([np.random.normal(scale=0.3, size=weight.shape) for weight in encoder.weights])
    manager.save()
    (tmp_path / "bert_config.json").write_text(json.dumps(SIZES))
    check_encoder(load_model(tmp_path), encoder, features)
    assert not [record for record in caplog.records if record.name.startswith("tinybert_tf")]
