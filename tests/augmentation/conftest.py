"""A small masked LM with a vocabulary that has everything a candidate must not be, word vectors, and GLUE files."""

import numpy as np
import pytest

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]")
PLAIN = tuple(
    """film movie book plot actor scene story music ending script good bad great dull funny sad bright dark slow quick warm
    cold clever silly old new long short red green blue king queen river stone light sound voice paris london monday cafe
    run walk see hear know think make take give find""".split()
)
STOP = ("the", "a", "was", "not", "and", "of")
NUMBERS = tuple("0 1 2 3 7 1999 2020".split())
MARKS = tuple("""! . , ? ' " - ( )""".split())
PIECES = ("un", "##ly", "##ness", "##s", "##ing")
WORDS = (*SPECIAL, *PLAIN, *STOP, *NUMBERS, *MARKS, *PIECES)


@pytest.fixture(scope="session")
def masked_lm_dir(tmp_path_factory):
    """A masked LM with random weights, wide enough apart that its scores tell words from each other."""
    import keras

    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("masked_lm")
    (folder / "vocabulary").mkdir()
    (folder / "vocabulary" / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.5,
    )
    model = build_model(config, "masked_lm")
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign_add(generator.normal(scale=0.2, size=weight.shape))
    save_model(model, folder / "model", tokenizer_from=folder / "vocabulary")
    return folder / "model"


@pytest.fixture(scope="session")
def model(masked_lm_dir):
    from tinybert_tf.checkpoints import load_model

    return load_model(masked_lm_dir)


@pytest.fixture(scope="session")
def tokenizer(masked_lm_dir):
    from tinybert_tf.data import Tokenizer

    return Tokenizer.from_directory(masked_lm_dir)


@pytest.fixture(scope="session")
def vectors_file(tmp_path_factory):
    """GloVe's format: 60 words, among them some that the vocabulary cuts into pieces."""
    generator = np.random.default_rng(1)
    words = [*PLAIN, "sadly", "darkly", "slowness", "kings", "unkind", "1998", "1997", ";", ":"]
    lines = [f"{word} {' '.join(f'{x:.5f}' for x in generator.normal(size=8))}\n" for word in words]
    path = tmp_path_factory.mktemp("vectors") / "glove.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


SENTENCES = (
    'the film was "good" , not bad',
    "Sadly a Dull movie !",
    "PARIS and London",
    "",
    "caf\u00e9 \u597d\u7535 \U0001f600 film",
    "the film was good",
    "the film was good",
    "darkly clever , darkly funny and slow",
)


@pytest.fixture
def sst2_dir(tmp_path):
    """A GLUE folder with 60 training rows and 2 dev rows."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(2)
    drawn = [" ".join(generator.choice(PLAIN + STOP, generator.integers(2, 16))) for _ in range(60 - len(SENTENCES))]
    rows = [f"{text}\t{number % 2}\n" for number, text in enumerate([*SENTENCES, *drawn])]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    (folder / "dev.tsv").write_text("sentence\tlabel\nthe film\t1\nbad\t0\n", encoding="utf-8")
    return tmp_path / "glue"
