"""Small networks and sentences for them."""

import numpy as np
import pytest

from tinybert_tf.bert import BertConfig, build_model

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    # Larger than BERT's, so that a small network tells its inputs apart.
    "initializer_range": 0.3,
    "label2id": {"no": 0, "maybe": 1, "yes": 2},
}


@pytest.fixture
def config():
    """A function that makes a small configuration."""
    return lambda **changes: BertConfig(**(SIZES | changes))


@pytest.fixture
def network(config):
    """A function that builds a small network whose biases and normalisations are not the trivial ones."""

    def make(head: str = "classification", dtype: str | None = None, **changes):
        model = build_model(config(**changes), head, dtype=dtype)
        for weight in model.weights:
            if len(weight.shape) == 1:
                weight.assign_add(np.random.normal(scale=0.2, size=weight.shape))
        return model

    return make


@pytest.fixture
def features():
    """Three sentences of 9, 6 and 2 tokens in rows of 9."""
    mask = (np.arange(9) < np.array([[9], [6], [2]])).astype(np.int32)
    return {
        "input_word_ids": np.random.randint(1, 50, mask.shape).astype(np.int32) * mask,
        "input_mask": mask,
        "input_type_ids": (np.arange(9) >= 4).astype(np.int32) * mask,
    }
