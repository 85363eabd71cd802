"""BERT-of-Theseus replaces modules by its schedule and ends with the successor alone."""

import keras
import numpy as np
import pytest

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.distill.rivals import Theseus, replacement_rate
from tinybert_tf.errors import InputError

SIZES = {
    "vocab_size": 30, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16,
    "label2id": {"no": 0, "yes": 1}, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3,
}  # fmt: skip


def networks(student_layers=2, **changes):
    teacher = build_model(BertConfig(num_hidden_layers=4, **SIZES), head="classification")
    student = build_model(BertConfig(num_hidden_layers=student_layers, **SIZES | changes), head="classification")
    return teacher, student


@pytest.fixture
def features():
    ids = np.random.default_rng(0).integers(1, 30, (8, 6)).astype(np.int32)
    return {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}


def compiled(teacher, student, **options):
    trained = Theseus(teacher, student, **options)
    trained.compile(
        keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    return trained


def test_the_rate_rises_linearly_to_one():
    assert [float(replacement_rate(s, 0.2, 4)) for s in (0, 2, 4, 9)] == pytest.approx([0.2, 0.6, 1.0, 1.0])


def test_without_replacing_the_network_is_the_teacher_and_with_all_the_student(features):
    teacher, student = networks()
    pure = compiled(teacher, student, replacing_steps=10, base_rate=0.0)
    np.testing.assert_allclose(pure(features, training=True), teacher(features)["logits"], atol=1e-6)
    full = compiled(*networks(), replacing_steps=10, base_rate=1.0)
    np.testing.assert_allclose(full(features, training=True), full.student(features)["logits"], atol=1e-6)


@pytest.mark.slow
def test_only_the_successor_s_layers_are_trained(features):
    teacher, student = networks()
    frozen = [v.numpy() for v in (*teacher.variables, *student.embeddings.variables, *student.head_layer.variables)]
    layers = [v.numpy() for v in student.transformer_layers[0].variables]
    trained = compiled(teacher, student, replacing_steps=2)
    after_start = [v.numpy() for v in student.embeddings.variables]
    trained.fit(features, np.arange(8) % 2, epochs=6, verbose=0)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(frozen, teacher.variables, strict=False))
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(after_start, student.embeddings.variables, strict=True))
    assert any(
        not np.array_equal(a, v.numpy()) for a, v in zip(layers, student.transformer_layers[0].variables, strict=True)
    )


@pytest.mark.slow
def test_the_schedule_ends_with_pure_successor_modules_that_have_learned(features):
    teacher, student = networks()
    trained = compiled(teacher, student, replacing_steps=5)
    labels = np.arange(8) % 2
    history = trained.fit(features, labels, epochs=60, batch_size=8, verbose=0).history["loss"]
    assert float(replacement_rate(trained.optimizer.iterations, 0.5, 5)) == 1.0
    np.testing.assert_allclose(trained(features, training=True), student(features)["logits"], atol=1e-6)
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student_layers": 6}, "6 layers, more than the teacher's 4"),
        ({"student_layers": 3}, "cannot be cut into 3 equal modules"),
        ({"hidden_size": 8}, "hidden_size=8 and the teacher 12"),
        ({"label2id": {"yes": 0, "no": 1}}, "other ids for its labels than the teacher"),
        ({"label2id": {"yes": 0, "no": 1, "so": 2}}, "the student has 3 labels and the teacher 2"),
        ({"hidden_act": "relu"}, "hidden_act=relu and the teacher gelu"),
    ],
)
def test_networks_without_modules_to_replace_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Theseus(*networks(**arguments), replacing_steps=1)


@pytest.mark.usefixtures("eagerly")
def test_a_scaled_loss_takes_the_same_steps(features):
    weights = []
    for scale in (None, 1024.0):
        keras.utils.set_random_seed(0)
        trained = Theseus(*networks(), replacing_steps=1, base_rate=1.0)
        trained.compile(
            keras.optimizers.SGD(0.1, loss_scale_factor=scale), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )  # fmt: skip
        trained.fit(features, np.arange(8) % 2, epochs=2, shuffle=False, verbose=0)
        weights.append(trained.student.get_weights())
    for plain, scaled in zip(*weights, strict=True):
        np.testing.assert_allclose(scaled, plain, atol=1e-6)


def test_it_is_saved_as_a_whole(features, tmp_path):
    model = Theseus(*networks(), replacing_steps=2)
    model.save(tmp_path / "theseus.keras")
    again = keras.models.load_model(tmp_path / "theseus.keras")
    np.testing.assert_allclose(again(features), model(features), atol=1e-6)
    for one, other in zip(again.teacher.weights, model.teacher.weights, strict=True):
        np.testing.assert_array_equal(one, other)
