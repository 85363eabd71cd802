"""The model that trains a student on its teacher."""

import dataclasses

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tinybert_tf.checkpoints import read_projections
from tinybert_tf.distill import Distiller, Match, TinyBertObjective
from tinybert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("eagerly")

ALL_TERMS = TinyBertObjective(prediction_weight=1.0)
NAMES = ("attention_loss", "hidden_loss", "embedding_loss", "prediction_loss")


def squared(student, teacher, batch):
    return tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=-1)


@pytest.fixture
def distiller(network):
    """A function that sets a small student before a deeper and wider teacher, compiled."""

    def make(objective=ALL_TERMS, student=None, teacher=None, projections=None, **compiled):
        teacher = teacher or network(layers=4, hidden=12)
        student = student or network(layers=2, hidden=8)
        made = Distiller(teacher, student, objective, projections)
        made.compile(**({"optimizer": keras.optimizers.Adam(1e-2)} | compiled))
        return made

    return make


def loss_of(distiller, batch) -> float:
    return distiller.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)["loss"]


def layer_names(model) -> set[str]:
    return {layer.name for layer in model.layers}


@pytest.mark.compiled
def test_fit_and_evaluate_take_a_dataset_and_the_loss_falls(distiller, batch):
    made = distiller(metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices(batch(8)).batch(3)  # the last batch is smaller
    before = made.evaluate(data, return_dict=True, verbose=0)
    made.fit(data, epochs=15, verbose=0)
    after = made.evaluate(data, return_dict=True, verbose=0)
    assert set(after) == {"loss", "accuracy", *NAMES}
    assert after["loss"] < 0.8 * before["loss"]


def test_features_alone_are_enough(distiller, batch):
    made = distiller(TinyBertObjective.intermediate())
    history = made.fit(tf.data.Dataset.from_tensors(batch()[0]), verbose=0).history
    assert set(history) == {"loss", "attention_loss", "hidden_loss", "embedding_loss"}


def test_the_loss_is_the_weighted_sum_of_its_terms(distiller, batch):
    objective = TinyBertObjective(attention_weight=0.5, hidden_weight=2.0, embedding_weight=3.0, prediction_weight=4.0)
    logs = distiller(objective).evaluate(tf.data.Dataset.from_tensors(batch()), return_dict=True, verbose=0)
    terms = [logs[name] for name in NAMES]
    assert all(term > 0 for term in terms)
    assert logs["loss"] == pytest.approx(np.dot([0.5, 2.0, 3.0, 4.0], terms), rel=1e-5)


def test_evaluation_does_not_depend_on_how_rows_are_batched(distiller, batch):
    made = distiller(TinyBertObjective.prediction())
    data = tf.data.Dataset.from_tensor_slices(batch(7))
    small, whole = (made.evaluate(data.batch(size), return_dict=True, verbose=0)["loss"] for size in (2, 7))
    assert small == pytest.approx(whole, rel=1e-5)


def test_a_teachers_dropout_is_off_while_it_teaches(distiller, network, batch):
    """The original leaves its teacher in training mode."""
    teacher = network(layers=4, hidden=12, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    made = distiller(teacher=teacher, optimizer=keras.optimizers.SGD(0.0))
    features, _, _ = batch()
    seen = []
    reduced = made._frozen.teacher_reader.submodel

    def spy(*args, **kwargs):
        outputs = reduced(*args, **kwargs)
        seen.append([np.array(x) for x in tf.nest.flatten(outputs)])
        return outputs

    teacher_reader = dataclasses.replace(made._frozen.teacher_reader, submodel=spy)
    made._frozen = dataclasses.replace(made._frozen, teacher_reader=teacher_reader)
    made.run_eagerly = True
    for _ in range(2):
        made.train_on_batch(*batch())
    made.test_on_batch(*batch())
    expected = [np.array(x) for x in tf.nest.flatten(reduced(features, training=False))]
    noisy = [np.array(x) for x in tf.nest.flatten(reduced(features, training=True))]
    assert len(seen) == 3 and np.abs(noisy[0] - expected[0]).max() > 0.1
    for outputs in seen:
        for found, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.compiled
def test_two_training_steps_without_learning_have_one_loss(distiller, network, batch):
    """The same in a graph: nothing of a dropout teacher is random."""
    teacher = network(layers=4, hidden=12, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    made = distiller(teacher=teacher, optimizer=keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensors(batch())
    losses = [made.fit(data, verbose=0).history["loss"][0] for _ in range(2)]
    # Threads add in any order: the last digit may differ.
    assert [losses[1], loss_of(made, batch())] == pytest.approx([losses[0]] * 2, rel=1e-5)


@pytest.mark.parametrize("student_dropout", [False, True])
def test_the_students_dropout_is_on_where_it_is_asked_for(network, batch, student_dropout):
    student = network(layers=2, hidden=8, hidden_dropout_prob=0.5)
    made = Distiller(network(layers=4, hidden=12), student)
    made.compile(keras.optimizers.SGD(0.0), student_dropout=student_dropout)
    data = tf.data.Dataset.from_tensors(batch())
    losses = [made.fit(data, verbose=0).history["loss"][0] for _ in range(2)]
    assert (losses[0] != pytest.approx(losses[1], rel=1e-5)) == student_dropout
    assert loss_of(made, batch()) == pytest.approx(loss_of(made, batch()), rel=1e-5)


def test_training_changes_the_student_and_not_the_teacher(distiller, batch):
    made = distiller()
    teacher, student = ([np.array(w) for w in model.weights] for model in (made.teacher, made.student))
    made.fit(tf.data.Dataset.from_tensors(batch()).repeat(3), verbose=0)
    for before, after in zip(teacher, made.teacher.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    moved = [np.any(before != np.array(after)) for before, after in zip(student, made.student.weights, strict=True)]
    assert np.mean(moved) > 0.9
    theirs = {id(w) for w in made.teacher.weights}
    assert not any(id(w) in theirs for w in made.trainable_variables)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "objective",
    [TinyBertObjective.intermediate(), pytest.param(TinyBertObjective.prediction(), marks=pytest.mark.slow)],
)
def test_both_stages_train_a_student_of_another_width_and_an_uneven_depth(distiller, network, batch, objective):
    """768 hidden units and N % M == 0 are the original's conditions."""
    made = distiller(objective, student=network(layers=3, hidden=10), teacher=network(layers=4, hidden=14))
    data = tf.data.Dataset.from_tensors(batch())
    before = loss_of(made, batch())
    made.fit(data.repeat(30), verbose=0)
    assert loss_of(made, batch()) < before


def test_the_teacher_computes_no_layer_that_nothing_reads(distiller, network):
    teacher = network(layers=6, hidden=12)
    bottom = distiller(TinyBertObjective.intermediate(layers="bottom"), teacher=teacher)
    names = layer_names(bottom._frozen.teacher_reader.submodel)
    assert {"embeddings", "layer_0", "layer_1"} <= names
    assert not names & {"layer_2", "layer_3", "layer_4", "layer_5", "pooler", "classifier"}
    prediction = distiller(TinyBertObjective.prediction(), teacher=teacher)
    assert {"layer_5", "pooler", "classifier"} <= layer_names(prediction._frozen.teacher_reader.submodel)
    assert list(prediction._frozen.teacher_reader.submodel.output) == ["logits"]


def test_a_projection_stands_for_each_state_that_is_matched(distiller, tmp_path):
    objective = TinyBertObjective(hidden_weight=[0, 1], embedding_weight=1)
    made = distiller(objective)
    assert list(made.projections) == ["0", "2"]
    made.save_projections(tmp_path)
    assert {name.split(".")[1] for name in safetensors.numpy.load_file(tmp_path / "distill.safetensors")} == {"0", "2"}
    assert not distiller(TinyBertObjective.prediction()).projections


def test_networks_of_one_width_start_with_the_identity(distiller, network, batch):
    teacher = network(layers=2, hidden=8)
    student = network(layers=2, hidden=8)
    student.set_weights(teacher.get_weights())
    made = distiller(TinyBertObjective.intermediate(), student=student, teacher=teacher)
    assert loss_of(made, batch()) == pytest.approx(0.0, abs=1e-10)


def test_projections_are_trained_saved_and_taken_up_again(distiller, batch, tmp_path):
    made = distiller(TinyBertObjective.intermediate())
    start = made.projections["1"].kernel.numpy()
    made.fit(tf.data.Dataset.from_tensors(batch()).repeat(2), verbose=0)
    assert np.any(start != made.projections["1"].kernel.numpy())
    made.save_projections(tmp_path)
    read = read_projections(tmp_path, 3)
    again = distiller(TinyBertObjective.intermediate(), projections=read)
    for index, layer in again.projections.items():
        for found, expected in zip(layer.weights, made.projections[index].weights, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_padding_does_not_change_the_loss_unless_it_is_asked_to(distiller, network, batch):
    """Point 18 of what the published code does otherwise."""
    features, label, weight = batch(4, 8)
    wide = {name: np.pad(value, ((0, 0), (0, 6))) for name, value in features.items()}
    student, teacher = network(layers=2, hidden=8), network(layers=4, hidden=12)
    for padding, same in (("exclude", True), ("reference", False)):
        made = distiller(TinyBertObjective(padding=padding), student=student, teacher=teacher)
        made_loss, wide_loss = loss_of(made, (features, label, weight)), loss_of(made, (wide, label, weight))
        assert (wide_loss == pytest.approx(made_loss, rel=1e-5)) == same, padding


def test_rows_of_weight_zero_change_nothing(distiller, batch):
    made = distiller(metrics=[], weighted_metrics=["accuracy"])
    data = tf.data.Dataset.from_tensors(batch(5))
    features, label, weight = batch(5)
    filled = {name: np.concatenate([value, np.full_like(value[:3], 1)]) for name, value in features.items()}
    filled = (filled, np.concatenate([label, label[:3]]), np.concatenate([weight, np.zeros(3, np.float32)]))
    expected = made.evaluate(data, return_dict=True, verbose=0)
    found = made.evaluate(tf.data.Dataset.from_tensors(filled), return_dict=True, verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)
    twin = distiller(student=made.student, teacher=made.teacher)
    twin.set_weights(made.get_weights())
    start = [np.array(w) for w in made.student.weights]
    made.fit(data, verbose=0)
    trained = [np.array(w) for w in made.student.weights]
    made.student.set_weights(start)
    twin.fit(tf.data.Dataset.from_tensors(filled), verbose=0)
    for a, b in zip(trained, twin.student.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.slow
@pytest.mark.compiled
def test_xla_gives_the_same_loss(distiller, batch):
    made = distiller()
    plain = loss_of(made, batch())
    made.compile(optimizer="adam", jit_compile=True)
    assert loss_of(made, batch()) == pytest.approx(plain, rel=1e-4)
    made.fit(tf.data.Dataset.from_tensors(batch()), verbose=0)
    assert loss_of(made, batch()) != pytest.approx(plain, rel=1e-4)


def test_metrics_see_the_students_logits(distiller, network, batch):
    made = distiller(metrics=["accuracy"])
    features, label, weight = batch(8)
    found = made.evaluate(tf.data.Dataset.from_tensors((features, label, weight)), return_dict=True, verbose=0)
    logits = made.student.predict(features, verbose=0)["logits"]
    assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == label))
    np.testing.assert_allclose(made.predict(features, verbose=0), logits, atol=1e-6)


def test_a_regression_is_taught_by_squared_error(distiller, network, batch):
    student, teacher = (network(layers=n, head="regression", label2id=None) for n in (2, 4))
    made = distiller(TinyBertObjective.prediction(), student=student, teacher=teacher)
    features, _, weight = batch()
    ours, theirs = (model.predict(features, verbose=0)["logits"] for model in (student, teacher))
    found = loss_of(made, (features, np.zeros(4, np.float32), weight))
    assert found == pytest.approx(np.mean((ours - theirs) ** 2), rel=1e-5)


def test_a_student_without_a_task_learns_from_an_encoder(distiller, network, batch):
    student, teacher = network(layers=2, head="encoder"), network(layers=4, hidden=12, head="encoder")
    made = distiller(TinyBertObjective.intermediate(), student=student, teacher=teacher)
    made.fit(tf.data.Dataset.from_tensors(batch()[0]), verbose=0)
    assert made.predict(batch()[0], verbose=0).shape == (4, 8, 8)
    with pytest.raises(InputError, match="prediction loss needs logits, but the student.*'encoder'"):
        distiller(TinyBertObjective.prediction(), student=student, teacher=teacher)


def test_a_teacher_in_bfloat16_teaches_a_student_in_float32(distiller, network, batch):
    teacher = network(layers=4, hidden=12)
    half = network(layers=4, hidden=12, dtype="bfloat16")
    half.set_weights(teacher.get_weights())
    student = network()
    made, halved = (distiller(TinyBertObjective.prediction(), student=student, teacher=t) for t in (teacher, half))
    assert loss_of(halved, batch()) == pytest.approx(loss_of(made, batch()), rel=0.03)
    assert all(w.dtype == "float32" for w in halved.trainable_variables)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_losses_and_gradients_in_bfloat16_are_those_of_float32(distiller, network, batch, dtype):
    """A step of gradient descent with a rate of 1 subtracts the gradients. bfloat16 has 8 bits: 0.4% of a value."""
    teacher, student = network(layers=4, hidden=12), network()
    half = network(layers=4, hidden=12, dtype="bfloat16")
    half.set_weights(teacher.get_weights())
    fast = network(dtype=dtype)
    fast.set_weights(student.get_weights())
    losses, gradients = [], []
    for own, taught_by in ((student, teacher), (fast, half)):
        keras.utils.set_random_seed(0)
        made = distiller(student=own, teacher=taught_by, optimizer=keras.optimizers.SGD(1.0))
        before = [weight.numpy() for weight in made.trainable_variables]
        losses.append(made.train_on_batch(*batch(), return_dict=True)["loss"])
        steps = zip(before, made.trainable_variables, strict=True)
        gradients.append(np.concatenate([(old - weight.numpy()).ravel() for old, weight in steps]))
    exact, found = gradients
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert 0 < np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(exact)


def test_a_loss_in_compile_is_refused(distiller):
    with pytest.raises(ValueError, match="takes no loss"):
        distiller(loss="mse")
    assert distiller(loss=None).compiled


def test_projections_of_other_networks_and_classes_are_refused(distiller):
    with pytest.raises(InputError, match="projections need a kernel .* for hidden state 0, but there are 0"):
        distiller(TinyBertObjective.intermediate(), projections=[])
    with pytest.raises(InputError, match="hidden state 0, but the one for it has the shapes"):
        distiller(TinyBertObjective.intermediate(), projections=[np.zeros((8, 12))] * 3)
    wrong = [(np.zeros((1, 2)), np.zeros(2))] * 3
    with pytest.raises(InputError, match=r"hidden state 0, but the one for it has the shapes \(\(1, 2\), \(2,\)\)"):
        distiller(TinyBertObjective.intermediate(), projections=wrong)
    with pytest.raises(InputError, match="not the class TinyBertObjective; call it"):
        distiller(TinyBertObjective)


def test_outputs_that_the_features_do_not_hold_are_computed(distiller, network, batch):
    """Some of a teacher's outputs as features: the others come from the teacher itself."""
    teacher = network(layers=4, hidden=12)
    made = distiller([TinyBertObjective.prediction(), TinyBertObjective.intermediate()], teacher=teacher)
    features, *others = batch()
    expected = loss_of(made, (features, *others))
    given = features | {"teacher/logits": np.asarray(teacher(features)["logits"])}
    assert loss_of(made, (given, *others)) == pytest.approx(expected, rel=1e-6)
    given["teacher/logits"] = -given["teacher/logits"]
    assert loss_of(made, (given, *others)) != pytest.approx(expected, rel=1e-3)
    with pytest.raises(
        InputError, match="teacher/logit is no output of the teacher; the objective reads teacher/logits, "
    ):
        loss_of(made, (features | {"teacher/logit": given["teacher/logits"]}, *others))
    for name in ("hidden_states/4", "hidden_states/-1", "sequence_output"):  # of a teacher of four layers
        replaced = features | {f"teacher/{name}": np.full((4, 8, 12), 100.0, np.float32)}
        assert loss_of(made, (replaced, *others)) > 100
    unread = features | {"teacher/hidden_states/1": np.asarray(teacher(features)["hidden_states"][1])}
    assert loss_of(made, (unread, *others)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["hidden_states/-1", "hidden_states/2", "sequence_output"])
def test_every_spelling_of_a_state_has_its_projection(distiller, network, tmp_path, name):
    teacher, student = network(layers=4, hidden=12), network(layers=2, hidden=8)
    given = [(np.full((8, 12), number, np.float32), np.zeros(12, np.float32)) for number in range(3)]
    match = Match("state_loss", squared, name, "hidden_states/-1", over="tokens", project=True)
    made = distiller(match, teacher=teacher, student=student, projections=given)
    assert list(made.projections) == ["2"] and np.all(made.projections["2"].kernel == 2)
    made.save_projections(tmp_path)
    assert read_projections(tmp_path, 3)[:2] == [None, None] and np.all(read_projections(tmp_path, 3)[2][0] == 2)


def test_weights_of_examples_may_be_true_and_false(distiller, batch):
    made = distiller(TinyBertObjective.prediction())
    features, labels, _ = batch(4)
    kept = np.array([True, False, True, True])
    few = ({name: value[kept] for name, value in features.items()}, labels[kept])
    assert loss_of(made, (features, labels, kept)) == pytest.approx(loss_of(made, few), rel=1e-5)


def test_a_sequential_network_learns_and_teaches(batch):
    def sequential():
        layers = keras.layers
        inputs = keras.Input((8,), dtype="int32", name="input_word_ids")
        return keras.Sequential(
            [inputs, layers.Embedding(50, 4), layers.GlobalAveragePooling1D(), layers.Dense(3, name="out")]
        )

    teacher, student = sequential(), sequential()
    made = Distiller(teacher, student, [TinyBertObjective.prediction(), Match("out_loss", squared, "out", "out")])
    made.compile(keras.optimizers.Adam(0.1))
    features, *_ = batch(8)
    ids = features["input_word_ids"]
    found = made.evaluate(features, return_dict=True, verbose=0)["out_loss"]
    assert found == pytest.approx(np.mean((np.asarray(teacher(ids)) - np.asarray(student(ids))) ** 2), rel=1e-4)
    before = np.asarray(student(ids))
    made.fit(features, verbose=0)
    assert np.abs(before - np.asarray(student(ids))).max() > 1e-3
    np.testing.assert_allclose(made(features), student(ids), rtol=1e-6)


def test_a_student_s_regularizers_count_once(batch):
    """Also where the batch is computed in parts."""
    features, _, _ = batch()
    words = {"input_word_ids": features["input_word_ids"]}

    def bag(regularizer=None):
        ids = keras.Input((None,), dtype="int32", name="input_word_ids")
        hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 4)(ids))
        return keras.Model(ids, keras.layers.Dense(3, kernel_regularizer=regularizer)(hidden))

    teacher, student = bag(), bag(keras.regularizers.L2(10.0))
    expected = 10 * np.square(student.layers[-1].kernel.numpy()).sum()
    for parts in (1, 2):
        distiller = Distiller(teacher, student, TinyBertObjective.prediction())
        distiller.compile(keras.optimizers.SGD(0.0), accumulation_steps=parts)
        for found in (
            distiller.evaluate(words, verbose=0, return_dict=True),
            distiller.train_on_batch(words, return_dict=True),
        ):
            assert found["loss"] - found["prediction_loss"] == pytest.approx(expected, rel=1e-4)


def test_batch_normalization_needs_training_mode(batch):
    def bag(normalized):
        ids = keras.Input((None,), dtype="int32", name="input_word_ids")
        hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 4)(ids))
        return keras.Model(
            ids, keras.layers.Dense(3)(keras.layers.BatchNormalization()(hidden) if normalized else hidden)
        )

    student = bag(True)
    distiller = Distiller(bag(False), student, TinyBertObjective.prediction())
    with pytest.raises(InputError, match="student_dropout=False: .*batch normalization"):
        distiller.compile("adam")
    distiller.compile("adam", student_dropout=True)
    distiller.fit({"input_word_ids": batch()[0]["input_word_ids"]}, verbose=0)
    assert np.abs(student.layers[-2].moving_mean.numpy()).max() > 0


def test_a_student_in_bfloat16_is_trained(network, batch):
    distiller = Distiller(network(4, 12), network(dtype="bfloat16"), TinyBertObjective.intermediate())
    distiller.compile(keras.optimizers.SGD(0.1))
    before = distiller.student.get_weights()
    history = distiller.fit(batch()[0], epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert any((old != new).any() for old, new in zip(before, distiller.student.get_weights(), strict=True))


def test_the_sum_s_name_is_no_term():
    with pytest.raises(InputError, match="term=loss: is the name of the sum"):
        Match("loss", lambda student, teacher, batch: student, "logits")


def test_what_metrics_and_weights_of_losses_need_is_said(network, batch):
    features, labels, _ = batch()
    encoders = Distiller(network(layers=4, hidden=12, head="encoder"), network(layers=2, head="encoder"))
    with pytest.raises(InputError, match="metrics see the student's logits, and it has none"):
        encoders.compile("adam", metrics=["accuracy"])
    distiller = Distiller(network(layers=4, hidden=12), network(layers=2))
    with pytest.raises(InputError, match="loss_weights are those of the objective's terms"):
        distiller.compile("adam", loss_weights=[3.0])
    distiller.compile("adam", metrics=["accuracy"])
    with pytest.raises(InputError, match=r"metrics need labels: give \(features, labels\)"):
        distiller.evaluate(features, verbose=0)
    assert distiller.evaluate(features, labels, verbose=0, return_dict=True)["accuracy"] >= 0
    with pytest.raises(InputError, match="input_type_ids is None; give zeros"):
        distiller(features | {"input_type_ids": None})
