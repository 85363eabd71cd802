"""A model directory comes back as it was written, and says what is wrong with it by file, tensor and key."""

import errno
import json
import os
import re
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tinybert_tf.bert import HEADS, BertConfig, build_model
from tinybert_tf.checkpoints import huggingface, load_model, read_config, save_model
from tinybert_tf.checkpoints.load import read_checkpoint
from tinybert_tf.checkpoints.weights import fill
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import SPECIAL_TOKENS


def edit_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(directory, edit):
    path = directory / "model.safetensors"
    safetensors.numpy.save_file(edit(safetensors.numpy.load_file(path)), path)


@pytest.fixture
def saved(network, tmp_path):
    """A function that saves a small network; returns the network and its directory."""

    def save(head="classification", **changes):
        model = network(head, **changes)
        save_model(model, tmp_path / "model")
        return model, tmp_path / "model"

    return save


@pytest.mark.parametrize("head", HEADS)
def test_what_is_saved_comes_back_equal(saved, difference, head):
    model, directory = saved(head)
    again = load_model(directory)
    assert again.head == head
    assert difference(model, again) == 0
    labelled = head in ("classification", "token_classification")
    assert again.config == (model.config if labelled else model.config.replace(label2id=None))


@pytest.mark.parametrize("head", ["classification", "regression"])
def test_a_relu_before_the_classifier_is_kept(saved, difference, features, head):
    model, directory = saved(head, classifier_activation="relu")
    assert json.loads((directory / "config.json").read_text())["classifier_activation"] == "relu"
    again = load_model(directory)
    assert difference(model, again) == 0
    outputs = model(features)
    rectified = np.maximum(outputs["pooled_output"], 0)
    np.testing.assert_allclose(outputs["logits"], model.head_layer(rectified), atol=1e-6)
    np.testing.assert_allclose(
        model.head_layer(model.text_features(outputs["sequence_output"])), outputs["logits"], atol=1e-6
    )


def test_a_relu_before_the_classifier_can_be_asked_for(saved, features):
    model, directory = saved()
    assert "classifier_activation" not in json.loads((directory / "config.json").read_text())
    rectified = load_model(directory, classifier_activation="relu")
    expected = model.head_layer(np.maximum(model(features)["pooled_output"], 0))
    np.testing.assert_allclose(rectified(features)["logits"], expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_a_network_in_half_precision_is_stored_as_float32(network, difference, policy, tmp_path):
    model = network(dtype=policy)
    save_model(model, tmp_path / "model")
    stored = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {np.dtype(np.float32)}
    assert difference(model, load_model(tmp_path / "model", dtype=policy)) == 0


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_weights_of_any_precision_are_read(saved, difference, dtype):
    model, directory = saved()
    edit_tensors(directory, lambda tensors: {name: value.astype(dtype) for name, value in tensors.items()})
    assert difference(model, load_model(directory)) < 0.5
    for variable, value in zip(model.weights, load_model(directory).get_weights(), strict=True):
        np.testing.assert_array_equal(variable.numpy().astype(dtype).astype(np.float32), value)


def test_weights_in_several_files_are_read(saved, difference):
    model, directory = saved()
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, directory / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert difference(model, load_model(directory)) == 0
    index["weight_map"]["another"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match="lists 1 tensors that no file has, such as another"):
        load_model(directory)
    (directory / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00001-of-00002\.safetensors: missing; .*fetch all parts"):
        load_model(directory)


SPELLINGS = {
    "without bert.": lambda name: name.removeprefix("bert."),
    "gamma and beta": lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    ),
    "DataParallel": lambda name: f"module.{name}",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_of_the_names_is_read(saved, difference, caplog, spell):
    model, directory = saved()
    edit_tensors(directory, lambda tensors: {spell(name): value for name, value in tensors.items()})
    assert difference(model, load_model(directory)) == 0
    assert caplog.text == ""


def test_buffers_and_tied_copies_are_no_surplus(saved, difference, caplog):
    model, directory = saved("masked_lm")
    surplus = {
        "bert.embeddings.position_ids": np.arange(16)[None],
        "cls.predictions.decoder.weight": np.zeros((50, 24), np.float32),
        "cls.predictions.decoder.bias": np.zeros(50, np.float32),
    }
    edit_tensors(directory, lambda tensors: tensors | surplus)
    assert difference(model, load_model(directory)) == 0
    assert caplog.text == ""


def test_a_missing_pooler_is_reported_by_name(saved, difference, caplog):
    model, directory = saved("span")
    edit_tensors(directory, lambda tensors: {name: t for name, t in tensors.items() if "pooler" not in name})
    again = load_model(directory, strict_head=True)
    assert difference(model, again, ["logits", "hidden_states"]) == 0
    assert "bert.pooler.dense.weight, bert.pooler.dense.bias" in caplog.text


def test_a_missing_head_is_reported_by_name(saved, difference, caplog):
    model, directory = saved("encoder")
    again = load_model(directory, head="classification", label2id={"no": 0, "yes": 1})
    assert difference(again, model, ["hidden_states", "pooled_output"]) == 0
    assert "initialized at random: classifier.weight, classifier.bias" in caplog.text


def test_a_head_that_is_not_used_is_reported_by_name(saved, difference, caplog):
    model, directory = saved("classification")
    again = load_model(directory, head="encoder")
    assert difference(again, model, ["hidden_states", "pooled_output"]) == 0
    assert "not used: classifier.bias, classifier.weight" in caplog.text


def test_layers_beyond_the_configured_ones_are_reported(saved, caplog):
    _, directory = saved()
    edit_config(directory, num_hidden_layers=1)
    load_model(directory)
    assert "not used: bert.encoder.layer.1." in caplog.text


def test_another_task_gets_a_head_of_its_own(saved, caplog):
    _, directory = saved("classification")
    for head in ("regression", "token_classification", "span"):
        assert load_model(directory, head=head).head == head
        assert f"initialized at random: {'qa_outputs' if head == 'span' else 'classifier'}.weight" in caplog.text
        caplog.clear()


def test_a_classifier_follows_its_labels_and_not_their_ids(saved, features):
    model, directory = saved()
    turned = load_model(directory, label2id={"yes": 0, "no": 1, "maybe": 2})
    np.testing.assert_allclose(
        turned(features)["logits"], np.asarray(model(features)["logits"])[:, [2, 0, 1]], atol=1e-6
    )
    assert turned.config.label2id == {"yes": 0, "no": 1, "maybe": 2}


def test_other_labels_get_a_classifier_of_their_own(saved, difference, caplog):
    model, directory = saved()
    again = load_model(directory, label2id={"bad": 0, "fair": 1, "good": 2})
    assert again.config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert difference(model, again, ["pooled_output"]) == 0
    assert difference(model, again, ["logits"]) > 0.01
    assert "initialized at random: classifier.weight" in caplog.text


def test_a_teacher_has_to_have_its_head(saved):
    _, directory = saved("encoder")
    with pytest.raises(InputError, match=r"no weights for a classification head \(classifier\.weight.*fine-tune"):
        load_model(directory, head="classification", label2id={"no": 0, "yes": 1}, strict_head=True)


def test_a_teacher_that_classifies_has_to_have_its_pooler(saved):
    _, directory = saved()
    edit_tensors(directory, lambda tensors: {name: t for name, t in tensors.items() if "pooler" not in name})
    with pytest.raises(InputError, match=r"bert\.pooler\.dense\.weight"):
        load_model(directory, strict_head=True)


def test_weights_are_filled_into_an_existing_network(saved, network, difference):
    model, directory = saved()
    other = network()
    tensors = read_checkpoint(directory).tensors
    report = fill(other, tensors, "file")
    assert (report.missing, report.unused) == ((), ())
    assert difference(model, other) == 0
    report = fill(network(), tensors, "file", skip=("classifier",))
    assert report.missing == ("classifier.weight", "classifier.bias")
    assert report.unused == ("classifier.bias", "classifier.weight")


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("config", "edit", "words"),
    [
        ({}, without(QUERY), [QUERY, "missing", "num_hidden_layers=2"]),
        ({"num_hidden_layers": 3}, dict, ["bert.encoder.layer.2.", "missing", "num_hidden_layers=3"]),
        ({"hidden_size": 27}, dict, ["embeddings.word_embeddings.weight", "[50, 24]", "[50, 27]", "hidden_size"]),
        ({"vocab_size": 51}, dict, ["embeddings.word_embeddings.weight", "[50, 24]", "[51, 24]", "vocab_size"]),
        ({"max_position_embeddings": 8}, dict, ["position_embeddings", "[16, 24]", "max_position_embeddings"]),
        ({"type_vocab_size": 3}, dict, ["token_type_embeddings", "[2, 24]", "[3, 24]", "type_vocab_size"]),
        ({"intermediate_size": 48}, dict, ["layer.0.intermediate.dense", "[40, 24]", "[48, 24]", "intermediate_size"]),
        (
            {"label2id": {"a": 0, "b": 1}, "id2label": {"0": "a", "1": "b"}},
            dict,
            ["classifier.weight", "[3, 24]", "[2, 24]", "label2id"],
        ),
        ({"label2id": {"a": 0, "b": 1}}, dict, ["config.json", "label2id", "id2label", "contradict"]),
        ({"num_attention_heads": 5}, dict, ["config.json", "hidden_size=24", "num_attention_heads=5"]),
        ({"hidden_size": "24"}, dict, ["config.json", "hidden_size='24'"]),
        ({"model_type": "roberta"}, dict, ["config.json", "'roberta'", "'bert'"]),
        ({"problem_type": "multi_label_classification"}, dict, ["config.json", "problem_type='multi_label"]),
        ({"problem_type": "regression"}, dict, ["config.json", "problem_type='regression'", "3 outputs"]),
    ],
)
def test_what_does_not_fit_is_named_with_both_sides(saved, config, edit, words):
    _, directory = saved()
    edit_config(directory, **config)
    edit_tensors(directory, edit)
    with pytest.raises(InputError) as error:
        load_model(directory)
    assert [word for word in [str(directory), *words] if word not in str(error.value)] == [], error.value
    assert "\n" not in str(error.value)


def test_a_failed_load_changes_no_weight(saved, network):
    _, directory = saved()
    edit_tensors(directory, without(QUERY))
    model = network()
    before = model.get_weights()
    with pytest.raises(InputError):
        fill(model, read_checkpoint(directory).tensors, "file")
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("size", [0, 7, 100, 5000])
def test_a_truncated_file_is_named(saved, size):
    _, directory = saved()
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}: not a whole safetensors file"):
        load_model(directory)


@pytest.mark.parametrize("text", ["[]", '{"id2label": {"x": "a"}}', '{"vocab_size": null}', '{"label2id": 3}'])
def test_a_configuration_of_another_kind_is_named(saved, text):
    _, directory = saved()
    (directory / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        load_model(directory)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, name):
    _, directory = saved()
    (directory / name).unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        load_model(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.int8), "query.weight holds int8, so the weights are quantized"),
        (lambda x: x > 0, "query.weight holds bool, so the weights are quantized"),
        (lambda x: x * np.float32("nan"), "query.weight holds NaN or infinity"),
    ],
)
def test_weights_that_are_no_finite_floats_are_refused(saved, change, message):
    _, directory = saved()
    path = directory / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    name = next(name for name in tensors if name.endswith("layer.0.attention.self.query.weight"))
    safetensors.numpy.save_file(tensors | {name: change(tensors[name])}, path)
    with pytest.raises(InputError, match=message):
        load_model(directory)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F6_E2M3"])
def test_a_type_that_numpy_lacks_is_named_with_its_tensor(tmp_path, dtype):
    path = tmp_path / "model.safetensors"
    count = 6 if dtype.startswith("F6") else 8  # bytes
    header = json.dumps({QUERY: {"dtype": dtype, "shape": [8], "data_offsets": [0, count]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(count))
    with pytest.raises(
        InputError, match=rf"model.safetensors: tensor {QUERY} holds {dtype}, which is not read here; take"
    ):
        huggingface.read_tensors(tmp_path)


def test_a_file_that_the_system_does_not_give_out_is_not_called_damaged(saved, monkeypatch):
    _, directory = saved()

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(InputError, match=r"model.safetensors: cannot be read: Permission denied; see to the disk"):
        load_model(directory)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("classifier.weight", lambda x: x[0, 0]),
        ("classifier.bias", lambda x: x[:2]),
        ("bert.embeddings.position_embeddings.weight", lambda x: x[0, 0]),
        ("bert.embeddings.word_embeddings.weight", lambda x: x[0, 0]),
    ],
)
def test_a_tensor_of_another_shape_is_named_before_its_rows_are_taken(network, vocabulary, tmp_path, name, change):
    """To put labels, words and positions in order."""
    save_model(network(), tmp_path / "model", tokenizer_from=vocabulary)
    edit_tensors(tmp_path / "model", lambda tensors: tensors | {name: np.array(change(tensors[name]))})
    with pytest.raises(InputError, match=re.escape(name)):
        load_model(tmp_path / "model", label2id={"yes": 0, "no": 1, "maybe": 2})


def test_a_configuration_that_is_no_json_is_named(saved):
    _, directory = saved()
    (directory / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON"):
        load_model(directory)


@pytest.mark.parametrize(
    ("values", "head", "labels"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, "classification", {"LABEL_0": 0, "LABEL_1": 1}),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, "regression", None),
        (
            {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "b", "1": "a"}},
            "classification",
            {"b": 0, "a": 1},
        ),
        ({"architectures": ["TFBertForQuestionAnswering"]}, "span", None),
        ({"architectures": "BertForMaskedLM"}, "masked_lm", None),
        ({"architectures": ["BertForPreTraining"]}, "masked_lm", None),
        ({"architectures": ["BertForNextSentencePrediction"]}, "encoder", None),
        ({}, "encoder", None),
    ],
)
def test_the_head_is_told_by_the_architecture(tmp_path, values, head, labels):
    (tmp_path / "config.json").write_text(json.dumps(values))
    config, found = read_config(tmp_path)
    assert (found, config.label2id) == (head, labels)


@pytest.mark.parametrize(
    ("words", "rows", "fits"),
    [
        (50, 50, True),
        (49, 50, False),
        (51, 50, False),
        (50, 64, True),
        (50, 56, True),
        (50, 128, True),
        (50, 60, False),
    ],
)
def test_the_vocabulary_has_to_have_the_size_of_the_table(network, vocabulary, tmp_path, words, rows, fits):
    """A table that its publisher rounded up for the GPU is fine."""
    save_model(network("encoder", vocab_size=rows), tmp_path / "model")
    names = [*SPECIAL_TOKENS, *map(str, range(words - len(SPECIAL_TOKENS)))]
    (tmp_path / "model" / "vocab.txt").write_text("".join(f"{name}\n" for name in names))
    if fits:
        load_model(tmp_path / "model")
    else:
        with pytest.raises(InputError, match=rf"vocab\.txt: {words} words.*vocab_size={rows}"):
            load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("names", "found"), [([3, 1], {"3": 0, "1": 1}), ([False, True], {"false": 0, "true": 1}), ([None, "b"], None)]
)
def test_classes_may_be_numbers(saved, names, found):
    _, directory = saved(label2id={"a": 0, "b": 1})
    edit_config(directory, id2label=dict(enumerate(names)), label2id=found)
    if found:
        assert load_model(directory).config.label2id == found
    else:
        with pytest.raises(InputError, match="id2label names a class None; give each class a text as its name"):
            load_model(directory)


@pytest.mark.slow
def test_bert_base_makes_the_round_trip(tmp_path):
    model = build_model(BertConfig.named("bert_base"))
    save_model(model, tmp_path / "model")
    for a, b in zip(model.get_weights(), load_model(tmp_path / "model").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
