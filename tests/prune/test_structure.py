"""Which heads, neurons and layers are important, and what a network with fewer of them computes."""

import sys

import numpy as np
import pytest

from tinybert_tf.bert import build_model
from tinybert_tf.checkpoints import load_model, read_projections, write_projections
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.prune import prune
from tinybert_tf.prune.importance import choose_layers, measure_importance
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.texts import feature_batches

pytestmark = pytest.mark.usefixtures("eagerly")

HEADS = ("classification", "regression", "token_classification", "span", "encoder")


@pytest.fixture(scope="session")
def texts(texts):
    """Fewer of them."""
    return texts[:80]


@pytest.fixture
def batches(model_dir, texts):
    """Features of single texts: each is a sample of the importance."""
    return list(feature_batches(texts[:40], Tokenizer.from_directory(model_dir("for_words")), 16, batch_size=1))


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def outputs(model, features):
    found = model(features)
    return np.asarray(found.get("logits", found["sequence_output"]))


@pytest.mark.parametrize("head", ["classification", *(slow(head) for head in HEADS if head != "classification")])
def test_what_adds_nothing_has_no_importance(model_dir, batches, head):
    model = load_model(model_dir(head=head))
    layer = model.transformer_layers[1]
    kernel, bias = layer.attention.output_dense.get_weights()
    kernel[4:8] = 0  # the second of four heads
    layer.attention.output_dense.set_weights([kernel, bias])
    kernel, bias = layer.output_dense.get_weights()
    kernel[5] = 0
    layer.output_dense.set_weights([kernel, bias])
    heads, neurons = measure_importance(model, batches)
    assert heads.shape == (3, 4) and neurons.shape == (3, 32)
    assert heads[1, 1] == 0 and neurons[1, 5] == 0
    assert np.sort(heads.ravel())[1] > 0 and np.sort(neurons.ravel())[1] > 0


def test_importance_is_the_derivative_by_a_gate(model_dir, batches):
    """By differences: a neuron's outgoing weights scaled by 1 + step and 1 - step."""
    model, batches = load_model(model_dir(head="regression")), batches[:10]
    _, neurons = measure_importance(model, batches)
    dense = model.transformer_layers[1].output_dense
    kernel, bias = dense.get_weights()
    for neuron in (0, 7):
        found = []
        for factor in (1.01, 0.99):
            scaled = kernel.copy()
            scaled[neuron] *= factor
            dense.set_weights([scaled, bias])
            found.append(np.array([outputs(model, features)[0, 0] for features in batches]))
        derivatives = (found[0] - found[1]) / 0.02
        assert neurons[1, neuron] == pytest.approx(np.sqrt(np.square(derivatives).sum()), rel=0.05)
        dense.set_weights([kernel, bias])


def test_a_layer_that_changes_nothing_is_left_out_first(model_dir, batches):
    model = load_model(model_dir())
    for dense in (model.transformer_layers[1].attention.output_dense, model.transformer_layers[1].output_dense):
        dense.set_weights([np.zeros_like(weight) for weight in dense.get_weights()])
    assert choose_layers(model, 2, batches) == (1, 3)
    assert choose_layers(model, 3, batches) == (1, 2, 3)


def with_zeroed_parts(folder, tokenizer_dir, head):
    """A directory whose model has two heads and half of the neurons of each layer set to zero."""
    from tinybert_tf.checkpoints import save_model

    model = load_model(folder)
    for number, layer in enumerate(model.transformer_layers):
        kernel, bias = layer.attention.output_dense.get_weights()
        kernel.reshape(4, 4, -1)[[number % 4, (number + 2) % 4]] = 0
        layer.attention.output_dense.set_weights([kernel, bias])
        kernel, bias = layer.output_dense.get_weights()
        kernel[number % 2 :: 2] = 0
        layer.output_dense.set_weights([kernel, bias])
    save_model(model, folder, tokenizer_from=tokenizer_dir)
    return folder


@pytest.mark.parametrize("head", ["classification", *map(slow, ("span", "encoder"))])
def test_neurons_that_add_nothing_leave_without_a_trace(model_dir, texts, head, tmp_path):
    folder = model_dir(head=head)
    with_zeroed_parts(folder, folder, head)
    report = prune(folder, tmp_path / "small", texts, intermediate_size=16)
    before, after = load_model(folder), load_model(tmp_path / "small")
    assert after.config.intermediate_size == 16 and report.layers == (1, 2, 3)
    features = Tokenizer.from_directory(folder)(texts[:20], seq_len=16)
    real = features["input_mask"].numpy().astype(bool)
    difference = np.abs(outputs(before, features) - outputs(after, features))
    assert (difference[real] if difference.ndim == 3 else difference).max() < 1e-4


@pytest.mark.slow
def test_a_narrower_network_is_nearer_to_its_source_than_a_random_one(model_dir, texts, tmp_path):
    folder = model_dir()
    sizes = {"num_hidden_layers": 2, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 24}
    report = prune(folder, tmp_path / "small", texts, **sizes)
    model = load_model(tmp_path / "small")
    assert {name: getattr(model.config, name) for name in sizes} == sizes
    assert report.parameters == model.count_params() and len(report.layers) == 2
    features = Tokenizer.from_directory(folder)(texts[:100], seq_len=16)
    expected = outputs(load_model(folder), features)
    random = build_model(model.config, "classification")
    error = lambda network: np.square(outputs(network, features) - expected).mean()
    assert error(model) < 0.5 * error(random) and error(model) < 0.5 * expected.var()


def test_every_size_at_once_and_a_teacher(model_dir, texts, tmp_path):
    folder, teacher = model_dir(), model_dir("teacher", hidden_size=24)
    write_projections({n: (np.ones((16, 24), np.float32), np.zeros(24, np.float32)) for n in range(4)}, folder)
    report = prune(
        folder, tmp_path / "small", texts, teacher=teacher, vocab_size=60, max_position_embeddings=16,
        num_hidden_layers=2, hidden_size=8, num_attention_heads=2, intermediate_size=8,
    )  # fmt: skip
    model = load_model(report.model)
    assert (model.config.vocab_size, model.config.max_position_embeddings) == (60, 16)
    assert load_model(report.teacher).config.hidden_size == 24
    projections = read_projections(report.model, 3)
    assert [kernel.shape for kernel, _ in projections] == [(8, 24)] * 3


def test_projections_give_the_source_back(model_dir, texts, tmp_path):
    folder = model_dir()
    prune(folder, tmp_path / "small", texts, intermediate_size=24)
    features = Tokenizer.from_directory(folder)(texts[:50], seq_len=16)
    real = features["input_mask"].numpy().astype(bool)
    states = [load_model(path)(features)["hidden_states"] for path in (folder, tmp_path / "small")]
    for expected, state, (kernel, bias) in zip(*states, read_projections(tmp_path / "small", 4), strict=True):
        expected, restored = np.asarray(expected)[real], (np.asarray(state) @ kernel + bias)[real]
        assert np.square(expected - restored).mean() < 0.2 * expected.var()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"num_attention_heads": 2}, "num_attention_heads=2: with hidden_size=16 its heads would be 8 wide, .* are 4"),
        ({"num_attention_heads": 3}, "num_attention_heads=3: hidden_size=16 must be a multiple of"),
        ({"hidden_size": 10}, "hidden_size=10: .* `hidden_size=8`"),
        ({"intermediate_size": 64}, "intermediate_size=64: the model has 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(model_dir, texts, sizes, said, tmp_path):
    with pytest.raises(InputError, match=said):
        prune(model_dir(), tmp_path / "small", texts, **sizes)
    assert not (tmp_path / "small").exists()


@pytest.mark.slow
def test_a_size_is_chosen_for_a_target(model_dir, texts, tmp_path):
    folder = model_dir(hidden_size=48, intermediate_size=192, num_hidden_layers=4)
    report = prune(folder, tmp_path / "small", texts, seq_len=16, target_mb=0.09)
    assert 0.05 < report.mb <= 0.09 and report.ms is None
    assert load_model(report.model).config.intermediate_size < 192


def test_a_target_out_of_reach_says_what_was_reached(model_dir, texts, tmp_path):
    said = r"target_mb=0.001: cannot be reached: the smallest network tried, .* has an int8 file of 0\.0\d\d MB; allow more"
    with pytest.raises(InputError, match=said):
        prune(model_dir(), tmp_path / "small", texts, seq_len=16, target_mb=0.001)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("target", "said"), [({"target_mb": 0.001}, r"0\.0\d\d MB"), ({"target_ms": 1e-6}, r"\d+\.\d{3} ms")]
)
def test_a_target_that_the_pruned_network_itself_misses_is_refused(
    model_dir, texts, tmp_path, monkeypatch, target, said
):
    """Sizes are chosen by files of random weights and any words, which may be smaller or faster."""
    # The package gives the function of this name.
    monkeypatch.setattr(sys.modules["tinybert_tf.prune.prune"], "sizes_for", lambda *_: [Sizes(vocab_size=60)])
    monkeypatch.setattr(sys.modules["tinybert_tf.prune.target"], "_RUNS", 2)
    name = next(iter(target))
    message = f"{name}={target[name]}: cannot be reached: the smallest network tried, 3x16x4x32 with 60 word pieces, .* {said}"
    with pytest.raises(InputError, match=message):
        prune(model_dir(), tmp_path / "small", texts, seq_len=16, **target)
    assert not (tmp_path / "small").exists()
