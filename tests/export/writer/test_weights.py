"""The rearranged weights compute what the model computes."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
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
