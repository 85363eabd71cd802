"""A small task on disk, and small models for it."""

import keras
import pytest

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.checkpoints import save_model

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "bad", "not")


@pytest.fixture
def glue(tmp_path):
    """SST-2 with 40 rows, in which the words "good" and "bad" decide."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    rows = [f"{'the film was ' * (1 + n % 3)}{'good' if n % 2 else 'bad'}\t{n % 2}" for n in range(40)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(rows[:9]) + "\n")
    return tmp_path / "glue"


@pytest.fixture
def make_directory(tmp_path):
    """Saves a small network as a model directory with a vocabulary."""

    def make(name: str, head: str = "classification", words=WORDS, **changes):
        keras.utils.set_random_seed(1)
        sizes = {
            "vocab_size": len(words),
            "hidden_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
            "label2id": {"negative": 0, "positive": 1},
        }
        vocabulary = tmp_path / "vocabulary"
        vocabulary.mkdir(exist_ok=True)
        (vocabulary / "vocab.txt").write_text("\n".join(words) + "\n")
        save_model(build_model(BertConfig(**(sizes | changes)), head), tmp_path / name, tokenizer_from=vocabulary)
        return tmp_path / name

    return make
