"""Weights that are trained as a file rounds them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.bert import BertConfig, build_model, logits_model
from tinybert_tf.checkpoints import save_model
from tinybert_tf.checkpoints.rounding import read_rounding
from tinybert_tf.errors import InputError
from tinybert_tf.export.sensitivity import with_sensitivity
from tinybert_tf.export.writer.calibration import calibrate
from tinybert_tf.export.writer.quantization import quantized
from tinybert_tf.export.writer.smoothing import input_scaling, smoothed
from tinybert_tf.export.writer.weights import folded_weights
from tinybert_tf.train.quantization import QuantizeAware, fake_quantized


@pytest.fixture
def network():
    """A function that builds a small network whose normalizations differ from their initial values."""

    def make(head: str = "classification"):
        labels = {"no": 0, "yes": 1} if "classification" in head else None
        config = BertConfig(
            vocab_size=60, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
            max_position_embeddings=16, initializer_range=0.2, label2id=labels,
        )  # fmt: skip
        model = build_model(config, head)
        random = np.random.default_rng(0)
        for weight in model.weights:
            if weight.path.endswith("gamma"):
                weight.assign(random.uniform(0.3, 2.0, weight.shape))
        return model

    return make


def matrices(network, head: str) -> dict[str, np.ndarray]:
    """The matrices [out, in] of the layers as a file of this head stores them, by the name of the dense layer.

    Where the first token alone is read, the file multiplies with the transposed matrix of the last layer's key.
    """
    names = {
        "attention/query": "query", "attention/key": "key", "attention/value": "value",
        "attention/output": "attention_output", "intermediate": "intermediate", "output": "output",
    }  # fmt: skip
    found = {
        f"layer_{number}/{path}": getattr(layer, name).kernel.T
        for number, layer in enumerate(network.layers)
        for path, name in names.items()
    }
    if head == "classification":
        last = f"layer_{len(network.layers) - 1}/attention/key"
        found[last] = found[last].T
    return found


@pytest.mark.parametrize("bits", [8, 4])
def test_values_are_rounded_as_the_exporter_rounds_them(bits):
    values = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    values[:, 3] *= 20
    integers, scales = quantized(values, bits, axis=1)
    assert np.allclose(fake_quantized(tf.constant(values), scales, bits), integers * scales, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
def test_trained_weights_keep_their_scales(bits):
    """Whatever steps do to a channel, also to its largest weight, the exporter finds the scale that it began with."""
    random = np.random.default_rng(0)
    values = random.normal(size=(50, 20)).astype(np.float32)
    _, scales = quantized(values, bits, axis=1)
    for size in (0.1, 0.5, 2.0):
        moved = (values + random.normal(size=values.shape, scale=size)).astype(np.float32)
        trained = fake_quantized(tf.constant(moved), scales, bits).numpy()
        integers, found = quantized(trained, bits, axis=1)
        assert np.allclose(found, scales, rtol=1e-5) and np.allclose(integers * found, trained, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "bits", "embedding_bits"), [("int8", 8, 8), ("int4_embeddings", 8, 4), ("int4", 4, 4)]
)
@pytest.mark.parametrize("head", ["classification", "span"])
def test_the_exporter_finds_the_scales_of_rounded_weights(network, head, mode, bits, embedding_bits):
    model = network(head)
    before = folded_weights(model)
    with QuantizeAware(model, mode).rounded():
        after = folded_weights(model)
    for values, rounded in zip(matrices(before, head).values(), matrices(after, head).values(), strict=True):
        integers, scales = quantized(values, bits, axis=0)
        again, same_scales = quantized(rounded, bits, axis=0)
        assert np.array_equal(again, integers) and np.allclose(same_scales, scales, rtol=1e-5)
        assert np.allclose(again * same_scales, rounded, atol=1e-5)
    integers, scales = quantized(before.word, embedding_bits, axis=1)
    assert np.allclose(after.word, integers * scales, atol=1e-6)
    assert np.array_equal(folded_weights(model).word, before.word)  # as it was before


@pytest.mark.parametrize("head", ["classification", pytest.param("span", marks=pytest.mark.slow)])
def test_training_starts_with_the_integers_of_the_file(network, head, tmp_path):
    """Those that the exporter chooses for texts, which the nearest ones of the moved weights are."""
    model = network(head)
    ids = np.random.default_rng(1).integers(1, 60, (40, 12), dtype=np.int32)
    batches = [{"input_word_ids": part, "input_mask": np.ones_like(part), "input_type_ids": np.zeros_like(part)}
               for part in (ids[:24], ids[24:, :10])]  # fmt: skip
    features = {name: np.pad(batches[1][name], ((0, 0), (0, 2))) for name in batches[0]}
    features = {name: np.concatenate([batches[0][name], features[name]]) for name in features}
    plain, aware = folded_weights(model), QuantizeAware(model, "int4")
    scaling = input_scaling(plain, calibrate(model.config, plain, head, features))
    before = smoothed(plain, scaling)
    calibration = calibrate(model.config, before, head, features)
    calibration = with_sensitivity(calibration, model, features, scaling, before.first_token_layer)
    seen = calibration.dense
    np.testing.assert_array_equal(
        calibration.word_counts,
        np.bincount(ids[24:, :10].ravel(), minlength=60) + np.bincount(ids[:24].ravel(), minlength=60),
    )
    filling = {name: np.zeros((2, 8), np.int32) for name in features}
    aware.start_from([filling, *batches])
    moved = smoothed(folded_weights(model), scaling)
    with aware.rounded():
        after = smoothed(folded_weights(model), scaling)
    aware.mark(tmp_path)
    for written, expected in zip(read_rounding(tmp_path).scaling, scaling, strict=True):
        np.testing.assert_array_equal(written, expected)
    other_than_nearest = 0
    old, close, new = (matrices(network, head) for network in (before, moved, after))
    for name, values in old.items():
        weighting = {"moments": seen[name].moments, "sensitivity": seen[name].sensitivity}
        integers, scales = quantized(values, 4, 0, **weighting)
        assert np.isclose(new[name], integers * scales, atol=1e-6).mean() > 0.97, "all but the largest of some channels"
        again, same_scales = quantized(new[name], 4, 0, **weighting)
        assert np.allclose(new[name], again * same_scales, atol=1e-5), "the exporter moves nothing"
        inside = np.abs(values / scales - integers) < 0.48
        assert inside.mean() > 0.5 and np.allclose(close[name][inside], values[inside], atol=1e-6), "not moved"
        other_than_nearest += np.sum(integers != quantized(values, 4, 0)[0])
    counts = calibration.word_counts
    integers, scales = quantized(before.word, 4, axis=1, moments=calibration.word_sensitivity, counts=counts)
    assert np.isclose(after.word, integers * scales, atol=1e-6).mean() > 0.97
    assert np.any(scales != quantized(before.word, 4, axis=1)[1]), "the test must see the difference that counts make"
    assert other_than_nearest > 100, "the test must see the difference between GPTQ and the nearest integers"


def test_a_step_changes_the_exact_weights_by_the_gradient_at_the_rounded_ones(network):
    model, twin = network(), network()
    twin.set_weights(model.get_weights())
    exact = [np.array(weight) for weight in model.weights]
    aware = QuantizeAware(model, "int4")
    with QuantizeAware(twin, "int4").rounded():
        rounded = [np.array(weight) for weight in twin.weights]
    twin.set_weights(rounded)
    features = {
        "input_word_ids": np.random.randint(0, 60, (8, 10)),
        "input_mask": np.ones((8, 10), np.int32),
        "input_type_ids": np.zeros((8, 10), np.int32),
    }
    labels = np.arange(8) % 2
    for network_, callbacks in ((model, [aware]), (twin, [])):
        trained = logits_model(network_)
        trained.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        for layer in network_._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        trained.fit(features, labels, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    for old, start, new, stepped in zip(exact, rounded, model.weights, twin.weights, strict=True):
        assert np.allclose(np.array(new) - old, np.array(stepped) - start, atol=1e-5)


def test_integers_can_stay_while_biases_are_trained(network, eagerly):
    model = network()
    random = np.random.default_rng(1)
    features = {
        "input_word_ids": random.integers(1, 60, (16, 10), dtype=np.int32),
        "input_mask": np.ones((16, 10), np.int32),
        "input_type_ids": np.zeros((16, 10), np.int32),
    }
    aware = QuantizeAware(model, "int4", train_integers=False)
    aware.start_from([features])
    with aware.rounded():
        before = folded_weights(model)
    shifts = [np.array(weight) for weight in model.trainable_weights]
    assert {weight.path.rpartition("/")[2] for weight in model.trainable_weights} == {"kernel", "bias", "beta"}
    assert [weight.path for weight in model.trainable_weights if weight.path.endswith("kernel")] == [
        "classifier/kernel"
    ]
    trained = logits_model(model)
    trained.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(features, np.arange(16) % 2, batch_size=8, epochs=1, verbose=0, callbacks=[aware])
    with aware.rounded():
        after = folded_weights(model)
    for name, values in matrices(before, "classification").items():
        np.testing.assert_array_equal(values, matrices(after, "classification")[name])
    np.testing.assert_array_equal(before.word, after.word)
    changed = [not np.array_equal(old, new) for old, new in zip(shifts, model.trainable_weights, strict=True)]
    assert np.mean(changed) > 0.8  # no loss has a derivative by the bias of a key


def test_bad_modes_and_heads_are_named(network):
    with pytest.raises(InputError, match="quantize_aware=int3: must be one of int8, int4_embeddings, int4"):
        QuantizeAware(network(), "int3")
    with pytest.raises(InputError, match="head 'encoder' has no file"):
        QuantizeAware(network("encoder"), "int8")


def test_the_file_of_rounded_weights_answers_like_the_network(network, tmp_path):
    """Its weights are not moved: what is left are the activations, which the file rounds to eight bits."""
    from tinybert_tf.export import TFLiteModel, export_tflite

    model, aware_model = network(), network()
    aware_model.set_weights(model.get_weights())
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(55))]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    texts = [" ".join(f"w{(7 * row + 3 * word) % 55}" for word in range(row % 10 + 2)) for row in range(40)]
    aware = QuantizeAware(aware_model, "int4")
    features = {
        "input_word_ids": np.random.randint(5, 60, (32, 16)).astype(np.int32),
        "input_mask": np.ones((32, 16), np.int32),
        "input_type_ids": np.zeros((32, 16), np.int32),
    }
    errors = []
    with aware.rounded():
        for name, trained in (("plain", model), ("aware", aware_model)):
            save_model(trained, tmp_path / name, tokenizer_from=tmp_path)
            if trained is aware_model:
                aware.mark(tmp_path / name)
            file = tmp_path / f"{name}.tflite"
            export_tflite(tmp_path / name, file, seq_len=16, quantize="int4", calibration_texts=texts)
            logits = np.asarray(trained(features)["logits"])
            found = np.log(TFLiteModel(file).predict(features))
            difference = (logits - logits.mean(axis=1, keepdims=True)) - (found - found.mean(axis=1, keepdims=True))
            errors.append(np.sqrt(np.square(difference).mean()))
    assert errors[1] < 0.35 * errors[0]


def test_inputs_with_outliers_are_scaled_while_training_as_in_the_file(network, tmp_path):
    """One large column would otherwise decide how finely the file resolves the others."""
    from tinybert_tf.export import TFLiteModel, export_tflite

    plain = network()
    for layer in plain.transformer_layers:
        layer.attention.output_dense.bias.assign(30.0 * np.eye(48, dtype=np.float32)[5])
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(55))]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    texts = [" ".join(f"w{(7 * row + 3 * word) % 55}" for word in range(row % 10 + 2)) for row in range(40)]
    features = {
        "input_word_ids": np.random.randint(5, 60, (64, 16)).astype(np.int32),
        "input_mask": np.ones((64, 16), np.int32),
        "input_type_ids": np.zeros((64, 16), np.int32),
    }
    errors = []
    for starts in (False, True):
        model = network()
        model.set_weights(plain.get_weights())
        aware = QuantizeAware(model, "int8")
        if starts:
            aware.start_from([features])
        with aware.rounded():
            save_model(model, tmp_path / "model", tokenizer_from=tmp_path)
            aware.mark(tmp_path / "model")
            export_tflite(
                tmp_path / "model", tmp_path / "x.tflite", seq_len=16, quantize="int8", calibration_texts=texts
            )
            logits = np.asarray(model(features)["logits"])
        found = np.log(TFLiteModel(tmp_path / "x.tflite").predict(features))
        difference = (logits - logits.mean(axis=1, keepdims=True)) - (found - found.mean(axis=1, keepdims=True))
        errors.append(np.sqrt(np.square(difference).mean()))
    assert errors[1] < 0.85 * errors[0], errors
