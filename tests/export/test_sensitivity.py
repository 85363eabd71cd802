"""What errors of weights cost the answers, against differences of the answers themselves."""

import numpy as np
import pytest

from tests.export.conftest import TEXTS
from tinybert_tf.bert import INPUT_NAMES, BertConfig, build_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.checkpoints.rounding import InputScaling
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export import calibration as calibration_module
from tinybert_tf.export import export_tflite, sensitivity
from tinybert_tf.export.classifier import TFLiteClassifier
from tinybert_tf.export.sensitivity import answers, measure_sensitivity, with_sensitivity
from tinybert_tf.export.writer.quantization import Calibration, SeenInput

STEP = 1e-2


@pytest.fixture
def regressor(model_dir):
    """A network and one text of different words."""
    directory = model_dir("regression")
    features = Tokenizer.from_directory(directory)(["w1 w2 w3 w5 film"], seq_len=12)
    return load_model(directory), {name: features[name].numpy() for name in INPUT_NAMES}


def squared_slope(model, features, variable, changes):
    """The sum of the squares of the answer's derivatives by the changes of a variable."""
    before, slopes = variable.numpy(), []
    for change in changes:
        ends = []
        for sign in (1, -1):
            variable.assign(before + sign * STEP * change)
            ends.append(float(answers(model, features)[0, 0]))
        slopes.append((ends[0] - ends[1]) / (2 * STEP))
    variable.assign(before)
    return float(np.sum(np.square(slopes)))


def test_an_error_of_a_word_costs_the_square_of_what_it_changes(regressor, directions):
    model, features = regressor
    table = model.embeddings.word_embeddings.embeddings
    ids = features["input_word_ids"][features["input_mask"] == 1]
    one = lambda word: np.arange(table.shape[0])[:, None] == word
    slopes = [
        squared_slope(model, features, table, [one(word) * direction for word in ids]) for direction in directions
    ]
    found = measure_sensitivity(model, [features]).word - sensitivity._WORD_DAMPING * np.eye(48)
    costs = [direction @ found @ direction for direction in directions]
    assert np.trace(found) == pytest.approx(48, rel=1e-4)
    assert costs[0] / costs[1] == pytest.approx(slopes[0] / slopes[1], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layer_0/attention/query", "layer_1/attention/output", "pooler"])
def test_an_error_of_an_output_costs_the_square_of_what_it_changes(regressor, directions, name):
    model, features = regressor
    kernel = {
        "layer_0/attention/query": model.transformer_layers[0].attention.query,
        "layer_1/attention/output": model.transformer_layers[1].attention.output_dense,
        "pooler": model.pooler.dense,
    }[name].kernel
    rows = np.eye(48)
    slopes = [squared_slope(model, features, kernel, [np.outer(row, d) for row in rows]) for d in directions]
    found = measure_sensitivity(model, [features]).dense[name] - sensitivity._OUTPUT_DAMPING * np.eye(48)
    costs = [direction @ found @ direction for direction in directions]
    assert costs[0] / costs[1] == pytest.approx(slopes[0] / slopes[1], rel=0.02)


@pytest.fixture
def directions():
    return np.random.default_rng(0).normal(size=(2, 48))


@pytest.mark.parametrize("head", ["classification", "regression", "token_classification", "span", "masked_lm"])
def test_every_head_has_answers(model_dir, head):
    directory = model_dir(head)
    features = Tokenizer.from_directory(directory)(TEXTS, seq_len=12)
    model = load_model(directory)
    found = measure_sensitivity(model, [features])
    for moments in (found.word, *found.dense.values()):
        np.testing.assert_allclose(moments, moments.T, rtol=1e-3, atol=1e-4)
        assert np.linalg.eigvalsh(moments).min() > 0
    read = {name for name, moments in found.dense.items() if np.abs(moments - np.diag(np.diag(moments))).max() > 1e-3}
    assert read == set(found.dense) - ({"pooler"} if head not in ("classification", "regression") else set())


def test_padding_and_batches_change_nothing(regressor):
    model, features = regressor
    cropped = {name: values[:, :7] for name, values in features.items()}
    whole, again = (measure_sensitivity(model, [rows]).word for rows in (features, cropped))
    np.testing.assert_allclose(whole, again, rtol=1e-4, atol=1e-5)


def test_texts_are_taken_from_everywhere_and_sorted_by_length(monkeypatch):
    monkeypatch.setattr(sensitivity, "_TOKENS", 60)
    monkeypatch.setattr(sensitivity, "_FEWEST_TEXTS", 4)
    lengths = np.array([2, 9, 4, 5, 3, 8, 2, 0, 6, 7] * 4)
    mask = (np.arange(12) < lengths[:, None]).astype(np.int32)
    rows = {"input_word_ids": np.arange(1, 41)[:, None] * mask, "input_mask": mask, "input_type_ids": 0 * mask}
    batches = [{name: values[part] for name, values in rows.items()} for part in (slice(25), slice(25, None))]
    parts = list(sensitivity._parts(batches))
    words = np.concatenate([part["input_word_ids"][:, 0] for part in parts])
    assert len(words) == 60 * 36 // lengths.sum() and words.min() < 5 and words.max() > 35
    found = np.concatenate([np.sum(part["input_mask"], axis=1) for part in parts])
    assert list(found) == sorted(found) and found.min() > 0
    assert [part["input_mask"].shape[1] for part in parts] == [
        np.sum(part["input_mask"], axis=1).max() for part in parts
    ]
    with pytest.raises(InputError, match="no text to measure derivatives on"):
        list(sensitivity._parts([{name: 0 * values for name, values in rows.items()}]))


@pytest.mark.parametrize("head", ["pooled", "mean", "first_token"])
def test_a_vector_is_its_own_answer(regressor, head):
    """The states of tokens that it does not read cost nothing."""
    model, features = regressor
    found = measure_sensitivity(model, [features], head=head).dense
    found = {name: moments - sensitivity._OUTPUT_DAMPING * np.eye(len(moments)) for name, moments in found.items()}
    assert (np.abs(found["pooler"]).max() > 0) == (head == "pooled")
    assert np.abs(found["layer_1/output"]).max() > 0
    assert answers(model, features, head).shape == (1, 48)


@pytest.mark.parametrize("family", ["mpnet", "distilbert", "electra"])
def test_every_family_is_measured(family):
    sizes = {
        "vocab_size": 40,
        "num_hidden_layers": 2,
        "hidden_size": 48,
        "num_attention_heads": 4,
        "intermediate_size": 96,
    }
    config = BertConfig(**sizes, max_position_embeddings=16, label2id={"no": 0, "yes": 1}).of_family(family)
    model = build_model(config, "classification")
    ids = np.random.default_rng(0).integers(5, 40, (12, 8), dtype=np.int32)
    features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
    found = measure_sensitivity(model, [features])
    assert found.word.shape == (model.config.embedding_width,) * 2
    assert all(np.linalg.eigvalsh(moments).min() > 0 for moments in (found.word, *found.dense.values()))


def test_the_calibration_has_the_network_of_the_file(regressor):
    """The values are divided by factors in the file, and the keys of the last layer multiplied in another order."""
    model, features = regressor
    scaling = [InputScaling(np.ones(48), np.linspace(1, 2, 48), np.ones(48)) for _ in range(2)]
    names = [f"layer_{number}/attention/{part}" for number in (0, 1) for part in ("key", "value")]
    seen = Calibration({name: SeenInput(np.ones(48), np.eye(48)) for name in (*names, "classifier")})
    found, plain = with_sensitivity(seen, model, features, scaling, 1).dense, measure_sensitivity(model, [features])
    assert found["classifier"].sensitivity is None and found["layer_1/attention/key"].sensitivity is None
    np.testing.assert_allclose(
        found["layer_0/attention/key"].sensitivity, plain.dense["layer_0/attention/key"], rtol=1e-4
    )
    values = found["layer_1/attention/value"].sensitivity * np.outer(*2 * [scaling[1].context])
    np.testing.assert_allclose(values, plain.dense["layer_1/attention/value"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["int4", "int4_embeddings"])
def test_the_answers_of_a_file_are_nearer(model_dir, tmp_path, monkeypatch, mode):
    directory, errors = model_dir("classification"), []
    expected = load_model(directory)(Tokenizer.from_directory(directory)(TEXTS, seq_len=12))["logits"]
    expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    for is_measured in (True, False):
        if not is_measured:
            monkeypatch.setattr(calibration_module, "with_sensitivity", lambda calibration, *_: calibration)
        path = tmp_path / f"{is_measured}.tflite"
        export_tflite(directory, path, seq_len=12, quantize=mode, calibration_texts=TEXTS)
        errors.append(np.square(TFLiteClassifier(path).predict(TEXTS) - expected).sum())
    assert errors[0] < 0.8 * errors[1]
