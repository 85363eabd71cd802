"""What is frozen stays frozen when Keras saves, loads and copies a network."""

import copy

import keras
import numpy as np
import pytest

from tinybert_tf.bert import BertModel, BiLstmConfig, BiLstmModel, logits_model
from tinybert_tf.bert.config import FAMILIES
from tinybert_tf.bert.model import LogitsModel

pytestmark = pytest.mark.usefixtures("eagerly")


def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def flags(model):
    """What Keras says of a network, of each layer in it, by class and name, and of each weight."""
    layers = model._flatten_layers(include_self=False)
    of_layers = sorted((type(layer).__name__, layer.name, layer.trainable) for layer in layers)
    return model.trainable, of_layers, [(weight.path, weight.trainable) for weight in model.weights]


def frozen(network, head):
    model = network(head)
    model.embeddings.trainable = False
    model.embeddings.layer_norm.trainable = True
    model.transformer_layers[0].attention.query.trainable = False
    model.pooler.trainable = False
    return model


@pytest.mark.parametrize("head", ["classification", "masked_lm"])
def test_a_network_that_is_loaded_or_copied_is_frozen_where_it_was(network, head, tmp_path):
    model = frozen(network, head)
    # Three tables, the query's and the pooler's kernel and bias.
    assert len(model.trainable_weights) == len(model.weights) - 7
    for again in (saved(model, tmp_path), copy.deepcopy(model)):
        assert flags(again) == flags(model)


def test_a_clone_is_frozen_where_the_network_is(network):
    model = frozen(network, "classification")
    assert flags(keras.models.clone_model(model)) == flags(model)


def test_a_frozen_network_with_a_head_that_trains_comes_back_as_it_is(network, tmp_path):
    """Keras trains nothing of it as a whole, but shows which layers would."""
    model = network()
    model.trainable = False
    model.head_layer.trainable = True
    again = saved(model, tmp_path)
    assert flags(again) == flags(model) and again.head_layer.trainable and not again.trainable_weights


def test_training_of_a_partly_frozen_network_continues_with_its_optimizer(network, features, tmp_path):
    labels = np.array([0, 1, 2])
    model = logits_model(frozen(network, "classification"))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(features, labels, epochs=2, verbose=0)
    again = saved(model, tmp_path)
    assert flags(again) == flags(model)
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("head", ["classification", "token_classification"])
def test_frozen_logits_stay_frozen(network, head, tmp_path):
    model = logits_model(network(head))
    model.trainable = False
    for again in (saved(model, tmp_path), copy.deepcopy(model)):
        assert flags(again) == flags(model) and not again.trainable_weights
        # The pooler is no part of a token classifier's logits.
        assert again.network.pooler.trainable == (head == "token_classification")


def test_a_bilstm_is_frozen_where_it_was(tmp_path):
    BiLstmModel(BiLstmConfig(9))  # Keras numbers the names of layers that have none of their own
    model = BiLstmModel(BiLstmConfig(12, {"no": 0, "yes": 1}, embedding_size=6, units=4, hidden_size=5))
    model.word_embeddings.trainable = model.lstm.backward_layer.trainable = False
    for again in (saved(model, tmp_path), copy.deepcopy(model)):
        assert flags(again) == flags(model) and len(again.trainable_weights) == 11 - 1 - 3
    model.trainable = False
    assert not saved(model, tmp_path).trainable


def test_a_part_of_a_network_is_frozen_where_it_was(network, tmp_path):
    model = network(**FAMILIES["mpnet"], model_type="mpnet")
    model.embeddings.word_embeddings.trainable = model.pooler.trainable = False
    model.relative_attention_bias.trainable = False
    part = keras.Model(model.input, model.output["pooled_output"])
    again = saved(part, tmp_path)
    assert flags(again) == flags(part) and len(again.trainable_weights) == len(part.weights) - 4


def test_files_from_before_the_list_of_frozen_layers_are_read(network):
    model = network()
    config = model.get_config()
    del config["frozen"]
    assert len(BertModel.from_config(config).trainable_weights) == len(model.weights)
    assert not BertModel.from_config(config | {"trainable": False}).trainable_weights
    config = logits_model(frozen(network, "classification")).get_config()
    del config["frozen"], config["trainable"]
    assert len(LogitsModel.from_config(config).trainable_weights) == len(model.weights) - 7
    bilstm = BiLstmModel(BiLstmConfig(12, embedding_size=6, units=4, hidden_size=5))
    config = bilstm.get_config()
    del config["frozen"], config["trainable"]
    assert len(BiLstmModel.from_config(config).trainable_weights) == 11
