"""The network hands out what TinyBERT distils, under names and in shapes that others rely on."""

import copy

import keras
import numpy as np
import pytest
from scipy.special import erf, softmax

from tinybert_tf.bert import HEADS, INPUT_NAMES, MASK_VALUE, build_model, logits_model
from tinybert_tf.bert.config import FAMILIES
from tinybert_tf.bert.layers import relative_position_buckets
from tinybert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("eagerly")

LOGIT_SHAPES = {
    "classification": (3, 3),
    "regression": (3, 1),
    "token_classification": (3, 9, 3),
    "span": (3, 9, 2),
    "masked_lm": (3, 9, 50),
}


def as_numpy(outputs):
    return keras.tree.map_structure(lambda x: keras.ops.convert_to_numpy(x).astype(np.float32), outputs)


def largest_difference(a, b):
    return max(np.abs(x - y).max() for x, y in zip(keras.tree.flatten(a), keras.tree.flatten(b), strict=True))


@pytest.mark.parametrize("head", HEADS)
def test_inputs_and_outputs_have_the_agreed_names_and_shapes(network, features, head):
    model = network(head)
    outputs = as_numpy(model(features))
    assert tuple(model.input) == INPUT_NAMES
    assert [state.shape for state in outputs.pop("hidden_states")] == [(3, 9, 24)] * 3
    assert [logits.shape for logits in outputs.pop("attention_logits")] == [(3, 3, 9, 9)] * 2
    expected = {"sequence_output": (3, 9, 24), "pooled_output": (3, 24)}
    if head != "encoder":
        expected["logits"] = LOGIT_SHAPES[head]
    assert {name: value.shape for name, value in outputs.items()} == expected


def numpy_bert(model, features):
    """BERT's forward pass once more, in the order of the original paper."""
    weights = {variable.path: variable.numpy() for variable in model.weights}
    config = model.config

    def linear(x, name):
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    def normalise(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config.layer_norm_eps)
        return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def heads(x):  # [B, S, D] -> [B, H, S, D / H]
        return x.reshape(*x.shape[:2], config.num_attention_heads, -1).swapaxes(1, 2)

    def table(name):
        return weights[f"embeddings/{name}_embeddings/embeddings"]

    mask = (1 - features["input_mask"])[:, None, None, :] * MASK_VALUE
    x = table("word")[features["input_word_ids"]] + table("token_type")[features["input_type_ids"]]
    x = normalise(x + table("position")[: x.shape[1]], "embeddings/layer_norm")
    hidden_states, attention_logits = [x], []
    for number in range(config.num_hidden_layers):
        layer = f"layer_{number}"
        query, key, value = (heads(linear(x, f"{layer}/attention/{part}")) for part in ("query", "key", "value"))
        logits = query @ key.swapaxes(-1, -2) / np.sqrt(config.attention_head_size) + mask
        context = (softmax(logits, axis=-1) @ value).swapaxes(1, 2).reshape(x.shape)
        x = normalise(x + linear(context, f"{layer}/attention/output"), f"{layer}/attention_layer_norm")
        wide = linear(x, f"{layer}/intermediate")
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = normalise(x + linear(wide, f"{layer}/output"), f"{layer}/output_layer_norm")
        hidden_states.append(x)
        attention_logits.append(logits)
    pooled = np.tanh(linear(x[:, 0], "pooler/dense"))
    return hidden_states, attention_logits, pooled, linear(pooled, "classifier")


def test_every_output_is_what_the_formulas_give(network, features):
    model = network()
    outputs = as_numpy(model(features))
    hidden_states, attention_logits, pooled, logits = numpy_bert(model, features)
    assert largest_difference(outputs["hidden_states"], hidden_states) < 1e-5
    # Relative for the masked ones, which lie at -10000.
    for ours, formula in zip(outputs["attention_logits"], attention_logits, strict=True):
        np.testing.assert_allclose(ours, formula, atol=1e-5, rtol=1e-6)
    assert largest_difference(outputs["sequence_output"], hidden_states[-1]) < 1e-5
    assert largest_difference(outputs["pooled_output"], pooled) < 1e-5
    assert largest_difference(outputs["logits"], logits) < 1e-5


def test_the_masked_lm_decodes_with_the_word_embeddings(network, features):
    model = network("masked_lm")
    before = as_numpy(model(features)["logits"])
    bias = next(v for v in model.weights if v.path == "masked_lm/bias")
    bias.assign_add(np.ones(50))
    np.testing.assert_allclose(as_numpy(model(features)["logits"]), before + 1, atol=1e-5)
    assert sum(np.prod(v.shape) == 50 * 24 for v in model.weights) == 1, "the vocabulary table is there once"


def test_padding_does_not_reach_real_positions(network, features):
    model = network("token_classification")
    real = features["input_mask"].astype(bool)
    padded = features | {
        "input_word_ids": np.where(real, features["input_word_ids"], 7),
        "input_type_ids": np.where(real, features["input_type_ids"], 1),
    }
    a, b = (as_numpy(model(x)) for x in (features, padded))
    for one, other in zip([*a["hidden_states"], a["logits"]], [*b["hidden_states"], b["logits"]], strict=True):
        np.testing.assert_array_equal(one[real], other[real])
    shorter = as_numpy(model({name: value[1:2, :6] for name, value in features.items()}))
    np.testing.assert_allclose(shorter["logits"][0], a["logits"][1, :6], atol=1e-5)


def test_dropout_is_off_unless_training_is_asked_for(network, features):
    model = network(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    first, again = as_numpy(model(features)), as_numpy(model(features))
    assert largest_difference(first, again) == 0
    assert largest_difference(first, as_numpy(model(features, training=True))) > 0.01


def test_the_classifier_has_a_dropout_of_its_own(network, features):
    model = network(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.9)
    plain, training = as_numpy(model(features)), as_numpy(model(features, training=True))
    assert largest_difference(plain["pooled_output"], training["pooled_output"]) == 0
    assert largest_difference(plain["logits"], training["logits"]) > 0.01


@pytest.mark.parametrize("act", ["gelu_new", "gelu_pytorch_tanh", "relu"])
def test_the_activation_is_the_configured_one(network, features, act):
    model, exact = network(hidden_act=act), network(hidden_act="gelu")
    exact.set_weights(model.get_weights())
    difference = largest_difference(as_numpy(model(features))["logits"], as_numpy(exact(features))["logits"])
    assert (0 < difference < 1e-2) if act != "relu" else difference > 1e-2


# compute and variable dtype, and that of the logits: a loss is not computed in half precision over float32 variables.
@pytest.mark.parametrize("head", ["classification", "masked_lm"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_a_dtype_policy_reaches_every_layer(network, features, policy, head):
    model = network(head, dtype=policy)
    expected = keras.DTypePolicy(policy)
    outputs = model(features)
    assert model.dtype_policy.name == policy
    assert {str(v.dtype) for v in model.weights} == {expected.variable_dtype}
    states = [*outputs["hidden_states"], *outputs["attention_logits"], outputs["pooled_output"]]
    assert {state.dtype.name for state in states} == {expected.compute_dtype}
    logits_dtype = expected.variable_dtype if head == "classification" else expected.compute_dtype
    assert outputs["logits"].dtype.name == logits_dtype
    plain = network(head)
    plain.set_weights([np.asarray(v, np.float32) for v in model.weights])
    np.testing.assert_allclose(as_numpy(outputs["logits"]), as_numpy(plain(features)["logits"]), atol=0.5)


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_network_comes_back_whole(network, features, head, tmp_path):
    model = network(head, dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert (type(again), again.config, again.head) == (type(model), model.config, head)
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert largest_difference(as_numpy(model(features)), as_numpy(again(features))) == 0


def test_a_copy_is_equal_and_independent(network, features):
    model = network()
    before = as_numpy(model(features))
    other = copy.deepcopy(model)
    assert largest_difference(before, as_numpy(other(features))) == 0
    for weight in other.weights:
        weight.assign_add(np.ones(weight.shape))
    assert largest_difference(before, as_numpy(model(features))) == 0


def test_the_logits_alone_make_a_model_that_trains_and_is_saved(network, features, tmp_path):
    model = network()
    before = model.get_weights()
    trained = logits_model(model)
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(features, np.array([0, 1, 2]), verbose=0)
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)), "the weights are shared"
    trained.save(tmp_path / "logits.keras")
    again = keras.models.load_model(tmp_path / "logits.keras")
    assert largest_difference(as_numpy(trained(features)), as_numpy(again(features))) == 0


def test_an_encoder_has_no_logits_to_train(network):
    with pytest.raises(InputError, match=r"'encoder'.*no logits"):
        logits_model(network("encoder"))


@pytest.mark.parametrize("head", ["classification", "token_classification"])
def test_a_classifier_needs_to_know_its_labels(config, head):
    with pytest.raises(InputError, match=rf"{head}.*label2id"):
        build_model(config(label2id=None), head)


def test_a_network_is_built_from_a_config():
    with pytest.raises(InputError, match=r'config is a str; give `tb.BertConfig.named\("tinybert4"\)`'):
        build_model("tinybert4")
    with pytest.raises(InputError, match=r"config is a dict; give a `tb.BertConfig`"):
        build_model({"hidden_size": 8})


def test_an_unknown_head_is_answered_with_the_known_ones(config):
    with pytest.raises(InputError, match=r"'ranking'.*classification"):
        build_model(config(), "ranking")


def bucket_of(relative, buckets=32, max_distance=128):
    """T5's rule as its authors wrote it down, for one distance."""
    half = buckets // 2
    bucket, distance = (half if relative > 0 else 0), abs(relative)
    if distance < half // 2:
        return bucket + distance
    # In exact integers: distance^4 >= (half/2)^4 * 2^(2k) is distance >= half/2 * 16^(k/8).
    steps = sum(distance**4 >= (half // 2) ** 4 * 4**k for k in range(1, half // 2))
    return bucket + half // 2 + steps


def test_relative_positions_fall_into_the_buckets_of_t5():
    relative = np.arange(-511, 512)
    assert relative_position_buckets(relative).tolist() == [bucket_of(int(distance)) for distance in relative]


def test_an_mpnet_adds_a_bias_by_relative_position_to_the_logits_of_every_layer(network, features):
    """It is a BERT whose mask holds the bias; its first layer's logits differ by the bias alone."""
    model = network("encoder", **FAMILIES["mpnet"], model_type="mpnet", max_position_embeddings=300)
    plain = build_model(model.config.of_family("bert"))
    biases = np.asarray(model.relative_attention_bias.embeddings)
    assert biases.shape == (32, 3)
    plain.embeddings.token_type_embeddings.set_weights([np.zeros((2, 24))])
    for layer, other in zip(model.transformer_layers, plain.transformer_layers, strict=True):
        other.set_weights(layer.get_weights())
    for table, other in zip(model.embeddings.tables, plain.embeddings.tables, strict=False):
        other.set_weights(table.get_weights())
    plain.embeddings.layer_norm.set_weights(model.embeddings.layer_norm.get_weights())
    long = {name: np.pad(value, ((0, 0), (0, 200)), mode="edge") for name, value in features.items()}
    ours, theirs = as_numpy(model(long)), as_numpy(plain(long))
    seq = long["input_mask"].shape[1]
    expected = np.array([[biases[bucket_of(key - query)] for key in range(seq)] for query in range(seq)])
    difference = ours["attention_logits"][0] - theirs["attention_logits"][0]
    np.testing.assert_allclose(difference, np.broadcast_to(expected.transpose(2, 0, 1), difference.shape), atol=2e-3)
    assert np.abs(ours["hidden_states"][2] - theirs["hidden_states"][2]).max() > 0.01


def test_an_mpnet_reads_no_token_types(network, features):
    model = network("encoder", **FAMILIES["mpnet"], model_type="mpnet")
    others = features | {"input_type_ids": 1 - features["input_type_ids"]}
    assert largest_difference(as_numpy(model(features)), as_numpy(model(others))) == 0
