"""Small model directories with a vocabulary that spells every word of its letters, and texts of such words."""

import itertools

import numpy as np
import pytest

LETTERS = "abcdefg"
LABELS = {"no": 0, "maybe": 1, "yes": 2}


def entries() -> list[str]:
    """Special tokens, letters, their continuations, and all pieces of two and three letters of the first five."""
    pieces = ["".join(p) for size in (2, 3) for p in itertools.product(LETTERS[:5], repeat=size)]
    special = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *LETTERS, *(f"##{c}" for c in LETTERS), *pieces, *(f"##{p}" for p in pieces)]


@pytest.fixture(scope="session")
def vocabulary():
    """The entries of the vocabulary."""
    return entries()


@pytest.fixture(scope="session")
def texts():
    """Sentences of words of one to seven letters, some far more frequent than others."""
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list(LETTERS), random.integers(1, 8))) for _ in range(200)]
    chances = 1 / np.arange(1, 201)
    chances /= chances.sum()
    return [" ".join(random.choice(words, random.integers(1, 9), p=chances)) for _ in range(300)]


@pytest.fixture
def model_dir(tmp_path):
    """A function that writes a small model directory and returns its path."""

    def write(name: str = "model", head: str = "classification", words: list[str] | None = None, **changes):
        from tinybert_tf.bert import BertConfig, build_model
        from tinybert_tf.checkpoints import save_model

        words = words or entries()
        tokenizer = tmp_path / f"{name}_tokenizer"
        tokenizer.mkdir()
        (tokenizer / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        sizes = {
            "vocab_size": len(words),
            "hidden_size": 16,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 32,
            "max_position_embeddings": 24,
            # Larger than BERT's, so that small networks tell their inputs apart.
            "initializer_range": 0.3,
            "label2id": LABELS if head in ("classification", "token_classification") else None,
        }
        model = build_model(BertConfig(**(sizes | changes)), head)
        save_model(model, tmp_path / name, tokenizer_from=tokenizer)
        return tmp_path / name

    return write
