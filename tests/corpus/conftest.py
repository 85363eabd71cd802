"""A vocabulary of 60 words, pieces, marks and a Chinese character, and text made of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PLAIN = tuple(f"{first}{vowel}{last}" for first in "bdgk" for vowel in "aeiou" for last in "nr")
WORDS = (*SPECIAL, *PLAIN, "##s", "##ly", "##ness", '"', ".", ",", "\u597d", "\u7535")


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tokenizer(vocab_file):
    from tinybert_tf.data import Tokenizer

    return Tokenizer(vocab_file)


def make_text(documents: int, seed: int = 0) -> str:
    """Documents of 1 to 9 lines of 1 to 3 sentences, about 1,000 characters each."""
    random = np.random.default_rng(seed)
    word = lambda: random.choice(PLAIN) + random.choice(["", "", "s", "ly", "lyness"])
    sentence = lambda: " ".join(word() for _ in range(random.integers(1, 20))).capitalize() + "."
    line = lambda: " ".join(sentence() for _ in range(random.integers(1, 4)))
    return "\n\n".join("\n".join(line() for _ in range(random.integers(1, 10))) for _ in range(documents)) + "\n"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(make_text(60), encoding="utf-8")
    return path


@pytest.fixture
def settings(vocab_file, text_file, tmp_path):
    """A function: changes -> settings of a corpus of about ten shards."""
    from tinybert_tf.corpus import CorpusSettings

    common = CorpusSettings(
        input=str(text_file),
        vocab=str(vocab_file),
        output_dir=str(tmp_path / "corpus"),
        max_seq_length=32,
        shard_mb=0.005,
        held_out=0.05,
    )
    return lambda name="corpus", **changes: dataclasses.replace(common, output_dir=str(tmp_path / name), **changes)


@pytest.fixture(scope="session")
def corpus(vocab_file, text_file, tmp_path_factory):
    """A finished corpus of about five shards."""
    from tinybert_tf.corpus import CorpusSettings, make_corpus, read_corpus

    output = tmp_path_factory.mktemp("made") / "corpus"
    make_corpus(
        CorpusSettings(
            input=str(text_file),
            vocab=str(vocab_file),
            output_dir=str(output),
            max_seq_length=32,
            shard_mb=0.012,
            held_out=0.05,
        )
    )
    return read_corpus(output)


@pytest.fixture
def contents():
    """A function: directory -> its files' names and bytes."""
    return lambda directory: {path.name: path.read_bytes() for path in sorted(Path(directory).iterdir())}
