"""A configuration is Hugging Face's config.json, and says what is wrong with it."""

import dataclasses

import pytest

from tinybert_tf.bert import NAMED_SIZES, BertConfig, build_model, encoder_flops
from tinybert_tf.errors import InputError


# TinyBERT's Table 1 says 14.5M, 67.0M and 109M.
@pytest.mark.parametrize(
    ("name", "parameters"), [("tinybert4", 14_350_248), ("tinybert6", 66_955_008), ("bert_base", 109_482_240)]
)
def test_a_named_size_has_the_published_number_of_parameters(name, parameters):
    assert build_model(BertConfig.named(name)).count_params() == parameters


@pytest.mark.parametrize(("name", "billions"), [("tinybert4", 1.2), ("tinybert6", 11.3), ("bert_base", 22.5)])
def test_floating_point_operations_are_those_of_table_1(name, billions):
    assert encoder_flops(BertConfig.named(name), seq_len=128) == pytest.approx(billions * 1e9, rel=0.05)


@pytest.mark.parametrize("name", NAMED_SIZES)
def test_every_named_size_is_a_network(name):
    assert BertConfig.named(name).attention_head_size > 0


def test_named_sizes_take_changes():
    config = BertConfig.named("tinybert4", vocab_size=100, label2id={"no": 0, "yes": 1})
    assert (config.hidden_size, config.vocab_size, config.num_labels) == (312, 100, 2)


def test_a_configuration_survives_its_dictionary(config):
    assert BertConfig.from_dict(config().to_dict()) == config()


def test_a_configuration_cannot_be_changed(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().hidden_size = 1


def test_labels_that_have_only_a_number_get_names():
    assert BertConfig.from_dict({"num_labels": 2}).label2id == {"LABEL_0": 0, "LABEL_1": 1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden_size": 310}, ["hidden_size=310", "num_attention_heads=12"]),
        ({"num_hidden_layers": 0}, ["num_hidden_layers=0", "at least 1"]),
        ({"hidden_act": "swish"}, ["hidden_act='swish'", "gelu_new"]),
        ({"label2id": {"no": 0, "yes": 2}}, ["label2id", "0 to 1"]),
        ({"model_type": "roberta"}, ["model_type='roberta'", "'bert'"]),
        ({"position_embedding_type": "relative_key"}, ["relative_key", "'absolute'"]),
        ({"problem_type": "multi_label_classification"}, ["problem_type", "multi_label", "'regression'"]),
        ({"label2id": {"a": 0, "b": 1}, "id2label": {"0": "b", "1": "a"}}, ["label2id", "id2label", "contradict"]),
        ({"num_labels": 3, "id2label": {"0": "b", "1": "a"}}, ["num_labels=3", "2 classes"]),
        ({"id2label": ["a", "b"]}, ["id2label=['a', 'b']", "must be an object"]),
        ({"is_decoder": True}, ["is_decoder=True", "not supported"]),
        ({"pruned_heads": {"0": [1]}}, ["pruned_heads", "not supported"]),
        ({"quantization_config": {"bits": 4}}, ["quantization_config"]),
        ({"auto_map": {"AutoModel": "modeling.Net"}}, ["auto_map", "custom code"]),
        ({"classifier_activation": "tanh"}, ["classifier_activation", "'relu'"]),
        ({"model_type": "mpnet"}, ["type_vocab_size=2", "'mpnet' has 0"]),
        ({"embedding_size": 16}, ["embedding_size=16", "'bert'"]),
        ({"model_type": "electra", "embedding_size": "16"}, ["embedding_size='16'"]),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(values, words):
    with pytest.raises(InputError) as error:
        BertConfig.from_dict(values)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_an_unknown_size_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"'tinybert5'.*tinybert4, tinybert6"):
        BertConfig.named("tinybert5")


@pytest.mark.parametrize(
    "values",
    [
        {"label2id": {"no": "0", "yes": "1"}},
        {"id2label": {"0": "no", "1": "yes"}},
        {"label2id": {"no": 0, "yes": 1}, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "num_labels": 2},
        {"label2id": {"LABEL_0": 0, "LABEL_1": 1}, "id2label": {"0": "no", "1": "yes"}},
    ],
)
def test_labels_are_read_from_wherever_they_have_names(values):
    assert BertConfig.from_dict(values).label2id == {"no": 0, "yes": 1}
