"""The rearranged weights compute what the model computes."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteModel, export_tflite
from tinybert_tf.export.writer.weights import folded_weights


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True))


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def forward(network, heads, ids, types):
    """The network in NumPy, for one row of ids without padding: the normalised output of its last layer."""
    n = normalised(network.word[ids] + network.position[: len(ids)] + network.token_type[types])
    for layer in network.layers:

        def split(x):
            return x.reshape(len(ids), heads, -1).swapaxes(0, 1)

        query = split(n @ layer.query.kernel + layer.query.bias)
        key, value = split(n @ layer.key.kernel), split(n @ layer.value.kernel)
        context = (softmax(query @ key.swapaxes(1, 2)) @ value).swapaxes(0, 1).reshape(n.shape)
        attended = context @ layer.attention_output.kernel + layer.attention_output.bias
        n = normalised(n * layer.gamma + attended)
        expanded = np.maximum(n @ layer.intermediate.kernel + layer.intermediate.bias, 0)
        n = normalised(n * layer.attention_gamma + expanded @ layer.output.kernel + layer.output.bias)
    return n


@pytest.mark.parametrize("head", ["classification", "span"])
def test_gammas_betas_and_biases_move_without_changing_an_answer(head, model_dir, features):
    model = load_model(model_dir(head))
    from tinybert_tf.bert import build_model

    # ReLU, since NumPy has no erf.
    relu = build_model(model.config.replace(hidden_act="relu"), head)
    relu.set_weights(model.get_weights())
    network = folded_weights(relu)
    row = {name: value[:1] for name, value in features.items()}
    n = forward(network, model.config.num_attention_heads, row["input_word_ids"][0], row["input_type_ids"][0])
    if head == "classification":
        n = np.tanh(n[:1] @ network.pooler.kernel + network.pooler.bias)
    else:
        assert network.pooler is None
    found = n @ network.classifier.kernel + network.classifier.bias
    expected = relu(row)["logits"].numpy()[0]
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, np.atleast_2d(expected), atol=2e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_went_wrong_give_no_file(model_dir, tmp_path, value):
    """Integers of them would look like any others."""
    model, path = load_model(model_dir()), tmp_path / "model.tflite"
    model.transformer_layers[1].output_dense.bias.assign(np.where(np.arange(48) == 7, value, 0.0))
    path.write_bytes(b"before")
    with pytest.raises(InputError, match=r"the model 'bert': tensor layer_1/output/bias holds NaN or infinity; take"):
        export_tflite(model, path, seq_len=12, quantize="dynamic", tokenizer_from=model_dir())
    assert path.read_bytes() == b"before"


def test_a_lora_is_merged_by_keras_before_a_file_is_made(model_dir, features, tmp_path):
    model, path = load_model(model_dir()), tmp_path / "model.tflite"
    query = model.transformer_layers[0].attention.query
    before = tf.nn.softmax(model(features)["logits"]).numpy()
    query.enable_lora(2)
    query.lora_kernel_b.assign(np.random.normal(size=(2, 48)))
    with pytest.raises(
        InputError, match=r"layer layer_0/attention/query has a LoRA, .*; give `copy.deepcopy\(model\)`"
    ):
        export_tflite(model, path, seq_len=12, tokenizer_from=model_dir())
    export_tflite(copy.deepcopy(model), path, seq_len=12, tokenizer_from=model_dir())
    expected = tf.nn.softmax(model(features)["logits"]).numpy()
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_allclose(TFLiteModel(path).predict(features), expected, atol=1e-5)
