"""Networks of other families compute what transformers computes, and are written as files that it reads.

families.json holds, for every family and head, a small configuration, the names and shapes of transformers' tensors, and
what transformers 5.24 gave for `WORD_IDS` with the weights of `seeded` (in BERT's order of words; of the first text the
tokens 0, 13 and 19, of the second one token 3).
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.errors import InputError

GOLDEN = json.loads((Path(__file__).parent / "families.json").read_text())
CASES = [(family, head) for family in GOLDEN for head in GOLDEN[family]]

WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(14))]
MPNET_WORDS = ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "<mask>"]
WORD_IDS = np.array(
    [[3, 6, 7, 2, 8, 9, 4, 10, 19, 12, 13, 14, 15, 5, 16, 17, 18, 6, 7, 4], [3, 8, 9, 4] + [0] * 16], np.int32
)
FEATURES = {
    "input_word_ids": WORD_IDS,
    "input_mask": (WORD_IDS > 0).astype(np.int32),
    "input_type_ids": np.array([[0] * 7 + [1] * 13, [0] * 20], np.int32),
}


def seeded(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.5, shape).astype(np.float32)


@pytest.fixture
def published(tmp_path):
    """A function that writes a model directory as transformers does."""

    def write(family, head, **changes):
        case = GOLDEN[family][head]
        directory = tmp_path / f"{family}_{head}"
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(case["config"] | changes))
        prefix = f"{family}." if head == "encoder" else ""
        # transformers saves an encoder by itself without the prefix, and gave the names so.
        tensors = {name.removeprefix(prefix): seeded(name, shape) for name, shape in case["tensors"].items()}
        safetensors.numpy.save_file(tensors, directory / "model.safetensors")
        words = MPNET_WORDS if family == "mpnet" else WORDS
        (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
        return directory

    return write


@pytest.mark.parametrize(("family", "head"), CASES)
def test_a_published_model_gives_transformers_numbers(published, family, head):
    model = load_model(published(family, head), strict_head=True)
    assert (model.head, model.config.model_type, model.config.vocab_size) == (head, family, len(WORDS))
    outputs = model(FEATURES)
    logits = np.asarray(outputs["sequence_output" if head == "encoder" else "logits"])
    if logits.ndim == 3:
        logits = np.stack([logits[0, 0], logits[0, 13], logits[0, 19], logits[1, 3]])
    np.testing.assert_allclose(logits, GOLDEN[family][head]["logits"], atol=1e-4)
    if "pooled" in GOLDEN[family][head]:
        np.testing.assert_allclose(outputs["pooled_output"], GOLDEN[family][head]["pooled"], atol=1e-4)


@pytest.mark.parametrize(("family", "head"), CASES)
def test_what_is_saved_is_what_was_published(published, tmp_path, family, head):
    """The same tensors in the same rows; the rows of tokens that the family never uses may differ."""
    directory = published(family, head)
    model = load_model(directory)
    save_model(model, tmp_path / "saved", tokenizer_from=directory)
    again = load_model(tmp_path / "saved")
    assert again.config == model.config
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    before, after = (
        safetensors.numpy.load_file(path / "model.safetensors") for path in (directory, tmp_path / "saved")
    )
    pooler = {name for name in after.keys() - before.keys() if "pooler" in name}
    tied = {name for name in before if name in ("generator_lm_head.weight", "vocab_projector.weight")}
    assert after.keys() - pooler == before.keys() - tied
    for name in before.keys() - tied:
        value = before[name]
        unused = {"word_embeddings": [3, 4, 7, 8, 9], "position_embeddings": [0, 1], "lm_head.bias": [3, 4, 7, 8, 9]}
        rows = next((rows for part, rows in unused.items() if part in name and family == "mpnet"), [])
        np.testing.assert_array_equal(np.delete(after[name], rows, 0), np.delete(value, rows, 0), name)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    published_config = GOLDEN[family][head]["config"] | {"label2id": config.get("label2id")}
    kept = {key: config.get(key) for key in published_config if key not in ("num_labels", "id2label")}
    assert kept == {key: published_config[key] for key in kept}
    assert (tmp_path / "saved" / "vocab.txt").read_text() == (directory / "vocab.txt").read_text()


def test_an_mpnet_directory_says_which_of_its_tokens_are_special(published, tmp_path):
    directory = published("mpnet", "encoder")
    save_model(load_model(directory), tmp_path / "saved", tokenizer_from=directory)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert (config["bos_token_id"], config["pad_token_id"], config["eos_token_id"]) == (0, 1, 2)
    assert (settings["cls_token"], settings["pad_token"], settings["unk_token"]) == ("<s>", "<pad>", "[UNK]")
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]


def test_a_student_takes_its_teacher_s_words_in_the_order_of_its_own_family(published, tmp_path):
    teacher = published("mpnet", "encoder")
    student = build_model(load_model(teacher).config.of_family("bert"))
    save_model(student, tmp_path / "student", tokenizer_from=teacher)
    assert (tmp_path / "student" / "vocab.txt").read_text().splitlines() == WORDS
    assert load_model(tmp_path / "student").config.model_type == "bert"


def test_without_a_vocabulary_the_rows_stay_as_they_are(tmp_path):
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = build_model(BertConfig(**sizes, intermediate_size=12).of_family("mpnet"))
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.config == model.config
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_table_rounded_up_keeps_its_spare_rows_behind_the_words(published, tmp_path):
    directory = published("mpnet", "encoder", vocab_size=64)
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] = table = seeded("table", (64, 8))
    safetensors.numpy.save_file(tensors, directory / "model.safetensors")
    model = load_model(directory)
    words = np.asarray(model.embeddings.word_embeddings.embeddings)
    assert len(words) == 64 - 5
    np.testing.assert_array_equal(words[len(WORDS) :], table[len(MPNET_WORDS) :])
    np.testing.assert_array_equal(words[WORDS.index("[CLS]")], table[0])


@pytest.mark.parametrize(
    ("model_type", "words"),
    [
        ("roberta", ["byte-level BPE", "'mpnet'"]),
        ("albert", ["SentencePiece", "'bert'"]),
        ("deberta-v2", ["SentencePiece"]),
        ("modernbert", ["byte-level BPE"]),
        ("t5", ["architecture", "'distilbert'"]),
        (7, ["model_type=7"]),
    ],
)
def test_another_kind_of_network_is_refused_with_the_reason_and_what_to_take(published, model_type, words):
    with pytest.raises(InputError) as error:
        load_model(published("mpnet", "encoder", model_type=model_type))
    assert [word for word in ["config.json", str(model_type), *words] if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 26}, ["vocab.txt", "25 words", "vocab_size=26"]),
        ({"vocab_size": "many"}, ["config.json", "vocab_size='many'"]),
        ({"max_position_embeddings": 2}, ["config.json", "max_position_embeddings=0"]),
        ({"relative_attention_num_buckets": 64}, ["config.json", "relative_attention_num_buckets=64", "32"]),
        ({"max_position_embeddings": 30}, ["position_embeddings", "[24, 8]", "[28, 8]"]),
    ],
)
def test_an_mpnet_that_does_not_fit_is_named_with_both_sides(published, changes, words):
    with pytest.raises(InputError) as error:
        load_model(published("mpnet", "encoder", **changes))
    assert [word for word in words if word not in str(error.value)] == [], error.value
