"""A pruned model opens in Hugging Face's own program. Runs where torch and transformers are installed."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.prune import prune

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def test_transformers_computes_the_logits_of_a_pruned_model(model_dir, texts, tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 24}
    prune(model_dir(), tmp_path / "small", texts[:80], vocab_size=60, max_position_embeddings=20, **sizes)
    features = Tokenizer.from_directory(tmp_path / "small")(texts[:20], seq_len=20)
    expected = np.asarray(load_model(tmp_path / "small")(features)["logits"])
    names = {"input_word_ids": "input_ids", "input_mask": "attention_mask", "input_type_ids": "token_type_ids"}
    inputs = {names[name]: torch.from_numpy(value.numpy().astype(np.int64)) for name, value in features.items()}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "small").eval()
    with torch.no_grad():
        assert np.abs(model(**inputs).logits.numpy() - expected).max() < 1e-4


def test_transformers_splits_texts_into_the_same_pieces(model_dir, texts, tmp_path):
    prune(model_dir(), tmp_path / "small", texts, vocab_size=60)
    ours = Tokenizer.from_directory(tmp_path / "small").tokenize(texts).to_list()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    assert ours == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
