"""A small vocabulary and GLUE files made on the spot."""

import pytest

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
    "##ly",
    "a",
    ".",
    '"',
    "cafe",
)


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(vocab_file):
    from tinybert_tf.data import Tokenizer

    return Tokenizer(vocab_file)


@pytest.fixture
def sst2_dir(tmp_path):
    """A GLUE folder with 11 training rows of different lengths and 3 dev rows."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    rows = [f"{'the film was good ' * (1 + n % 4)}\t{n % 2}" for n in range(11)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "dev.tsv").write_text(
        "sentence\tlabel\nthe film\t1\nbad\t0\nthe film was not good\t0\n", encoding="utf-8"
    )
    return tmp_path / "glue"
