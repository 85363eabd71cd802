"""Odd texts reach MediaPipe's tasks as the models know them: normalized before, or trained on MediaPipe's own tokens."""

from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.tokenizer_files import open_vocabulary
from tinybert_tf.vocabulary import SPECIAL_TOKENS, Vocabulary

ODD_TEXTS = Path(__file__).with_name("odd_texts.tsv")
LABELS = {"bad": 0, "good": 1, "so so": 2}


@pytest.fixture(scope="module")
def odd_texts(vectors_module) -> dict[str, str]:
    rows = [line.split("\t") for line in ODD_TEXTS.read_text(encoding="ascii").splitlines()]
    texts = {kind: vectors_module.unescaped(text) for kind, text in rows}
    assert len(texts) == 36
    return texts


@pytest.fixture(scope="module")
def words(odd_texts) -> list[str]:
    """A vocabulary of every character of the texts, as they are and in lower case, and of some words."""
    characters = {character for text in odd_texts.values() for character in text + text.lower()}
    characters = {character for character in characters if not character.isspace()}
    letters = sorted(characters | set("abcdefghijklmnopqrstuvwxyz"))
    return [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), "wonderful", "film", "the", "cafe"]


def probabilities(path, labels, texts) -> np.ndarray:
    """What MediaPipe's task gives, in the order of `labels`."""
    text = pytest.importorskip("mediapipe.tasks.python.text", reason="no mediapipe: make android")
    with text.TextClassifier.create_from_model_path(str(path)) as classifier:
        found = [classifier.classify(given).classifications[0].categories for given in texts]
    return np.array([[{c.category_name: c.score for c in row}[label] for label in labels] for row in found])


def test_odd_texts_move_unless_they_are_normalized_or_trained_on(odd_texts, words, vectors_module, tmp_path):
    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.export import TFLiteClassifier, export_tflite

    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=96,
        initializer_range=0.3,
        label2id=LABELS,
    )
    model = build_model(config, "classification")
    texts, moved = list(odd_texts.values()), {}
    for name in ("bert", "mediapipe"):
        vocabulary = Vocabulary("odd", tuple(words)).with_normalization(name)
        save_model(model, tmp_path / name, tokenizer_from=vocabulary)
        assert open_vocabulary(tmp_path / name).normalization == name
        path = export_tflite(tmp_path / name, tmp_path / f"{name}.tflite", seq_len=96).path
        classifier = TFLiteClassifier(path)
        expected = classifier.predict(texts)

        def kinds_that_move(given, path=path, expected=expected):
            differences = np.abs(probabilities(path, list(LABELS), given) - expected).max(axis=1)
            return [kind for kind, difference in zip(odd_texts, differences, strict=True) if difference > 1e-4]

        moved[name] = kinds_that_move(texts)
        if name == "bert":
            moved["normalized"] = kinds_that_move(vectors_module.normalized(Tokenizer(vocabulary), texts))
    assert len(moved["bert"]) >= 30
    assert moved["normalized"] == moved["mediapipe"] == []


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Caf\u00e9 \u00c9", "caf\u00e9 [UNK]"),  # \u00c9 is no ASCII letter and stays
        ("cafe\u00a0the", "[UNK]"),  # no ASCII space
        ("the,film \u4e2d\u4e2dfilm", "the , film \u4e2d \u4e2d film"),
        ("", ""),
        ("films", "film ##s"),
    ],
)
def test_mediapipes_tokens_by_hand(text, pieces):
    words = (*SPECIAL_TOKENS, "caf\u00e9", "\u00e9", "the", "film", "##s", ",", "\u4e2d")
    tokenizer = Tokenizer(Vocabulary("hand", words).with_normalization("mediapipe"))
    ids, begins, ends = (part[0].numpy() for part in tokenizer.tokenize_with_offsets([text]))
    assert [words[index] for index in ids] == pieces.split()
    data = text.encode()
    for word, begin, end in zip(pieces.split(), begins, ends, strict=True):
        assert word == "[UNK]" or word.removeprefix("##") == data[begin:end].decode().lower()


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(
        InputError, match="normalization=mediapipe: MediaPipe lower-cases every text, but hand is cased"
    ):
        Vocabulary("hand", SPECIAL_TOKENS, lower_case=False).with_normalization("mediapipe")
    with pytest.raises(InputError, match="normalization=other: must be bert or mediapipe"):
        Vocabulary("hand", SPECIAL_TOKENS).with_normalization("other")
