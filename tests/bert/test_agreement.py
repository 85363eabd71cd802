"""TF-Models' BERT, an implementation by others, computes the same from the same weights."""

import keras
import numpy as np
import pytest

pytest.importorskip("official.nlp.modeling.networks")
import tf_keras
from official.nlp.modeling import networks

from tinybert_tf.bert import BertConfig, build_model

SMALL = {"vocab_size": 100, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}


@pytest.mark.parametrize(
    "sizes", [SMALL, pytest.param({"vocab_size": 1000}, marks=pytest.mark.slow)], ids=["48", "768"]
)
@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_twelve_layers_agree_on_every_hidden_state(sizes, activation):
    config = BertConfig(num_hidden_layers=12, hidden_act=activation, **sizes)
    model = build_model(config)
    for weight in model.weights:  # a fresh bias is zero, and would hide a mistake
        if len(weight.shape) == 1:
            weight.assign_add(np.random.normal(scale=0.1, size=weight.shape))
    theirs = networks.BertEncoderV2(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=12,
        num_attention_heads=config.num_attention_heads,
        max_sequence_length=config.max_position_embeddings,
        type_vocab_size=config.type_vocab_size,
        inner_dim=config.intermediate_size,
        inner_activation=lambda x: tf_keras.activations.gelu(x, approximate=activation != "gelu"),
        return_word_embeddings=True,
    )
    mask = (np.arange(20) < np.array([[20], [11]])).astype(np.int32)
    features = {
        "input_word_ids": np.random.randint(0, config.vocab_size, mask.shape).astype(np.int32),
        "input_mask": mask,
        "input_type_ids": (np.arange(20) > 7).astype(np.int32) * mask,
    }
    theirs(features)
    # Both list their weights in the order of the computation; TF-Models splits the heads off in the kernels' shapes.
    theirs.set_weights(
        [ours.reshape(other.shape) for ours, other in zip(model.get_weights(), theirs.weights, strict=True)]
    )
    expected, outputs = theirs(features), model(features)
    states = [expected["word_embeddings"], *expected["encoder_outputs"]]
    real = mask.astype(bool)
    for number, (state, ours) in enumerate(zip(states, outputs["hidden_states"], strict=True)):
        difference = np.abs(state.numpy() - keras.ops.convert_to_numpy(ours))[real].max()
        assert difference < 1e-4, f"hidden state {number}"
    np.testing.assert_allclose(outputs["pooled_output"], expected["pooled_output"], atol=1e-4)
