"""Model directories cross over to Hugging Face's own program and back. Runs where torch and transformers are installed."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model, save_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = {
    "encoder": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
}


def outputs_of(model, features):
    names = {"input_word_ids": "input_ids", "input_mask": "attention_mask", "input_type_ids": "token_type_ids"}
    inputs = {names[name]: torch.from_numpy(value.astype(np.int64)) for name, value in features.items()}
    with torch.no_grad():
        outputs = model.eval()(**inputs, output_hidden_states=True)
    if "start_logits" in outputs:
        logits = torch.stack([outputs.start_logits, outputs.end_logits], -1)
    else:
        logits = outputs.get("logits")
    return [state.numpy() for state in outputs.hidden_states], None if logits is None else logits.numpy()


def check_equal(ours, theirs, features):
    real = features["input_mask"].astype(bool)
    outputs = ours(features)
    states, logits = outputs_of(theirs, features)
    for number, (a, b) in enumerate(zip(outputs["hidden_states"], states, strict=True)):
        assert np.abs(np.asarray(a) - b)[real].max() < 1e-4, f"hidden state {number}"
    if logits is not None:
        difference = np.abs(np.asarray(outputs["logits"]) - logits)
        assert (difference[real] if difference.ndim == 3 else difference).max() < 1e-4


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
@pytest.mark.parametrize("head", CLASSES)
def test_transformers_computes_what_we_saved(network, features, head, act, tmp_path):
    model = network(head, hidden_act=act)
    save_model(model, tmp_path)
    theirs, report = getattr(transformers, CLASSES[head]).from_pretrained(tmp_path, output_loading_info=True)
    # We always keep the pooler, which transformers leaves out where the task has no use for it.
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert all("pooler" in name for name in report["unexpected_keys"])
    if head in ("classification", "token_classification"):
        assert theirs.config.label2id == model.config.label2id
    check_equal(model, theirs, features)


@pytest.mark.parametrize("head", CLASSES)
def test_we_compute_what_transformers_saved(network, features, head, tmp_path):
    config = network(head).config
    labels = {"regression": {"num_labels": 1}, "span": {}, "masked_lm": {}, "encoder": {}}
    values = config.to_dict() | {"label2id": None}
    named = {"label2id": config.label2id, "id2label": {index: label for label, index in config.label2id.items()}}
    settings = transformers.BertConfig(
        **{key: value for key, value in values.items() if value is not None}, **labels.get(head, named)
    )
    theirs = getattr(transformers, CLASSES[head]).from_config(settings)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert ours.head == head
    check_equal(ours, theirs, features)


def test_a_pickled_checkpoint_is_read(network, features, tmp_path):
    save_model(network(), tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    check_equal(load_model(tmp_path), theirs, features)


def test_transformers_reads_the_tokenizer_we_saved(network, vocabulary, tmp_path):
    save_model(network(), tmp_path / "model", tokenizer_from=vocabulary)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("Word1 word2")["input_ids"] == [2, 6, 7, 3]
