"""Small models for small tasks, as directories."""

import keras
import pytest

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.checkpoints import save_model

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "film",
    "was",
    "good",
    "bad",
    "not",
    "paris",
    "anna",
    "##s",
)


@pytest.fixture
def make_model(tmp_path):
    """A function that saves a small network with random weights and a vocabulary."""

    def make(name: str, head: str = "classification", label2id=None, seed: int = 1):
        keras.utils.set_random_seed(seed)
        config = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=128, label2id=label2id, initializer_range=0.2, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        vocabulary = tmp_path / "vocabulary"
        vocabulary.mkdir(exist_ok=True)
        (vocabulary / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        save_model(build_model(config, head), tmp_path / name, tokenizer_from=vocabulary)
        return tmp_path / name

    return make
