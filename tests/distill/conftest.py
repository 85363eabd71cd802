"""Networks small enough to distil in a second, and sentences to do it on."""

import numpy as np
import pytest

from tinybert_tf.bert import BertConfig, build_model

LABELS = {"no": 0, "maybe": 1, "yes": 2}


@pytest.fixture
def config():
    """A function that makes a small configuration, without dropout unless it is asked for."""

    def make(layers: int = 2, hidden: int = 8, heads: int = 2, **changes) -> BertConfig:
        settings = {
            "vocab_size": 50,
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 2 * hidden,
            "max_position_embeddings": 16,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            # Larger than BERT's, so that small networks tell their inputs apart.
            "initializer_range": 0.3,
            "label2id": LABELS,
        }
        return BertConfig(**(settings | changes))

    return make


@pytest.fixture
def network(config):
    """A function that builds a small network."""

    def make(layers: int = 2, hidden: int = 8, heads: int = 2, head: str = "classification", dtype=None, **changes):
        return build_model(config(layers, hidden, heads, **changes), head=head, dtype=dtype)

    return make


@pytest.fixture
def batch():
    """Features, labels and weights of `rows` sentences padded to `length`; the first fills it, the others do not."""

    def make(rows: int = 4, length: int = 8, seed: int = 0):
        random = np.random.default_rng(seed)
        ends = np.maximum(length - np.arange(rows) % (length - 2), 2)
        mask = (np.arange(length) < ends[:, None]).astype(np.int32)
        features = {
            "input_word_ids": random.integers(1, 50, (rows, length)).astype(np.int32) * mask,
            "input_mask": mask,
            "input_type_ids": np.zeros((rows, length), np.int32),
        }
        return features, random.integers(0, 3, rows).astype(np.int32), np.ones(rows, np.float32)

    return make
