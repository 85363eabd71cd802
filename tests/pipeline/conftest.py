"""A small task on disk and a small pretrained network for it."""

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
    "play",
    "dull",
    "fine",
)


@pytest.fixture
def glue(tmp_path):
    """SST-2 with 40 training rows, 9 dev rows and 5 test rows."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    texts = [f"the {('film', 'play')[n % 2]} was {('good', 'bad', 'not dull', 'not fine')[n % 4]}" for n in range(40)]
    rows = [f"{text}\t{n % 2}" for n, text in enumerate(texts)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "\n".join(rows[:9]) + "\n")
    (folder / "test.tsv").write_text(
        "index\tsentence\n" + "\n".join(f"{n}\t{t}" for n, t in enumerate(texts[:5])) + "\n"
    )
    return tmp_path / "glue"


@pytest.fixture
def make_directory(tmp_path):
    """Saves a small network with random weights as a model directory."""

    def make(name: str, head: str, **changes):
        keras.utils.set_random_seed(1)
        sizes = {
            "vocab_size": len(WORDS),
            "hidden_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
        }
        vocabulary = tmp_path / "vocabulary"
        vocabulary.mkdir(exist_ok=True)
        (vocabulary / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        save_model(build_model(BertConfig(**(sizes | changes)), head), tmp_path / name, tokenizer_from=vocabulary)
        return tmp_path / name

    return make
