"""Small model directories, one a head, and their exports."""

import numpy as np
import pytest

SEQ_LEN = 12
LABELS = {"bad": 0, "good": 1, "so so": 2}
# What static ranges are found on.
TEXTS = [" ".join(f"w{(7 * row + 3 * word) % 60}" for word in range(row % 10 + 1)) for row in range(40)]
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(f"w{index}" for index in range(60)),
    "film",
    "caf\u00e9",
    "##ly",
)


def _write_model(folder, head):
    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model

    tokenizer_dir = folder.with_name(f"{folder.name}_tokenizer")
    tokenizer_dir.mkdir()
    (tokenizer_dir / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(WORDS),
        # Wide enough for the converter to quantize: it leaves arrays of fewer than 1,024 numbers alone.
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=16,
        # Larger than BERT's, so that a small network tells its inputs apart.
        initializer_range=0.2,
        label2id=LABELS if head in ("classification", "token_classification") else None,
    )
    model = build_model(config, head)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign_add(generator.normal(scale=0.2, size=weight.shape))
    save_model(model, folder, tokenizer_from=tokenizer_dir)
    return folder


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A function: head -> a model directory, written once."""
    import keras

    written = {}

    def get(head: str = "classification"):
        if head not in written:
            keras.utils.set_random_seed(0)
            written[head] = _write_model(tmp_path_factory.mktemp("models") / head, head)
        return written[head]

    return get


@pytest.fixture(scope="session")
def exported(model_dir, tmp_path_factory):
    """A function: (head, quantize) -> the report of an export, made once."""
    from tinybert_tf.export import export_tflite

    made = {}

    def get(head: str = "classification", quantize: str = "none"):
        if (head, quantize) not in made:
            output = tmp_path_factory.mktemp("exports") / f"{head}_{quantize}.tflite"
            made[head, quantize] = export_tflite(
                model_dir(head), output, seq_len=SEQ_LEN, quantize=quantize, calibration_texts=TEXTS
            )
        return made[head, quantize]

    return get


@pytest.fixture
def features():
    """Four rows of 12, 9, 5 and 2 tokens, the second half of each being a second sentence."""
    lengths = np.array([[12], [9], [5], [2]])
    mask = (np.arange(SEQ_LEN) < lengths).astype(np.int32)
    return {
        "input_word_ids": np.random.randint(5, len(WORDS), mask.shape).astype(np.int32) * mask,
        "input_mask": mask,
        "input_type_ids": (np.arange(SEQ_LEN) >= lengths // 2).astype(np.int32) * mask,
    }
