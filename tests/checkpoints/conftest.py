"""Small networks with a vocabulary, and what two networks make of the same sentences."""

import keras
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
def network():
    """A function that builds a small network with no weight at its trivial starting value."""

    def make(head: str = "classification", dtype: str | None = None, **changes):
        model = build_model(BertConfig(**(SIZES | changes)), head, dtype=dtype)
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


@pytest.fixture
def difference(features):
    """A function: the largest difference between what two networks give out under `names` (all by default)."""

    def largest(one, other, names=None):
        a, b = one(features), other(features)
        pairs = zip(*(keras.tree.flatten({n: x[n] for n in names or a}) for x in (a, b)), strict=True)
        return max(np.abs(np.asarray(x, np.float32) - np.asarray(y, np.float32)).max() for x, y in pairs)

    return largest


@pytest.fixture
def vocabulary(tmp_path):
    """A directory with a vocab.txt of 50 words."""
    directory = tmp_path / "vocabulary"
    directory.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(45))]
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return directory
