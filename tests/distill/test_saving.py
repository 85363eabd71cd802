"""A Distiller is a whole Keras model: saved, loaded, copied, checkpointed, backed up and exported."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.bert import logits_model
from tinybert_tf.distill import Distiller, TinyBertObjective, objectives
from tinybert_tf.train.optimizer import bert_adamw

pytestmark = pytest.mark.usefixtures("eagerly")

OBJECTIVE = [TinyBertObjective(prediction_weight=1.0), objectives.HardLabels(0.5)]


@pytest.fixture
def distiller(network):
    def make(**options):
        made = Distiller(network(layers=4, hidden=12), network(layers=2), OBJECTIVE)
        made.compile(bert_adamw(1e-2, 50), metrics=["accuracy"], **options)
        return made

    return make


def loss_of(distiller, data):
    features, labels, weight = data
    return distiller.evaluate(features, labels, sample_weight=weight, batch_size=8, verbose=0, return_dict=True)["loss"]


def test_training_continues_after_loading_as_if_nothing_had_happened(distiller, batch, tmp_path):
    made = distiller(accumulation_steps=2, student_dropout=True)
    data = tf.data.Dataset.from_tensors(batch()).repeat(3)
    made.fit(data, verbose=0)
    made.save(tmp_path / "whole.keras")
    again = keras.models.load_model(tmp_path / "whole.keras")
    assert (again.accumulation_steps, again.student_dropout) == (2, True)
    for one, other in zip(again.teacher.weights, made.teacher.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    histories = [model.fit(data, verbose=0).history["loss"] for model in (made, again)]
    assert histories[0] == pytest.approx(histories[1], rel=1e-6)


def test_frozen_layers_of_the_student_stay_frozen_and_training_continues(network, batch, tmp_path):
    student = network(layers=2)
    student.embeddings.trainable = student.transformer_layers[0].attention.trainable = False
    made = Distiller(network(layers=4, hidden=12), student, OBJECTIVE)
    made.compile(bert_adamw(1e-2, 50))
    data = tf.data.Dataset.from_tensors(batch()).repeat(3)
    made.fit(data, verbose=0)
    made.save(tmp_path / "whole.keras")
    again, tables = keras.models.load_model(tmp_path / "whole.keras"), student.embeddings.get_weights()
    assert not again.student.embeddings.trainable
    assert [v.path for v in again.trainable_variables] == [v.path for v in made.trainable_variables]
    histories = [model.fit(data, verbose=0).history["loss"] for model in (made, again)]
    assert histories[0] == pytest.approx(histories[1], rel=1e-6)
    for one, other in zip(again.student.embeddings.get_weights(), tables, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(again.weights, made.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("layers", [np.array([1, 3]), range(1, 4, 2)])
def test_one_that_is_not_compiled_is_saved_and_copied_too(network, batch, tmp_path, layers):
    objective = TinyBertObjective(layers=layers, attention_weight=np.array([1.0, 0.5]))
    made = Distiller(network(layers=4, hidden=12), network(layers=2), objective)
    made.save(tmp_path / "whole.keras")
    features, _, _ = batch()
    for again in (keras.models.load_model(tmp_path / "whole.keras"), copy.deepcopy(made)):
        assert list(again.objective.layers) == [1, 3] and not again.compiled
        np.testing.assert_array_equal(again(features), made(features))


def test_weights_are_those_of_what_is_trained(distiller, batch, tmp_path):
    made, other = distiller(), distiller()
    own = {id(v) for v in made.student.variables} | {id(v) for p in made.projections.values() for v in p.variables}
    assert {id(v) for v in made.weights} <= own
    made.save_weights(tmp_path / "x.weights.h5")
    other.load_weights(tmp_path / "x.weights.h5")
    for one, two in zip(made.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        np.any(np.asarray(a) != np.asarray(b)) for a, b in zip(made.teacher.weights, other.teacher.weights, strict=True)
    )


@pytest.mark.slow
def test_keras_callbacks_save_and_restore(distiller, batch, tmp_path):
    made = distiller()
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    made.fit(tf.data.Dataset.from_tensors(batch()), epochs=2, verbose=0, callbacks=callbacks)
    found = loss_of(made, batch())
    assert loss_of(keras.models.load_model(tmp_path / "best.keras"), batch()) == pytest.approx(found, rel=1e-5)
    with pytest.raises(ZeroDivisionError):
        made.fit(
            tf.data.Dataset.from_tensors(batch()),
            epochs=4,
            initial_epoch=2,
            verbose=0,
            callbacks=[
                callbacks[2],
                keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 // (3 - epoch)),
            ],
        )
    history = made.fit(tf.data.Dataset.from_tensors(batch()), epochs=4, verbose=0, callbacks=[callbacks[2]]).history
    assert len(history["loss"]) == 1, "epoch 3 alone was left"


def test_a_copy_has_the_networks_and_the_objective(distiller):
    made = distiller()
    again = keras.models.clone_model(made)
    assert again.matches is not made.matches and [m.term for m in again.matches] == [m.term for m in made.matches]
    assert again.student.config == made.student.config and again.teacher is not made.teacher


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("rows", [7, None])
def test_a_batch_that_does_not_divide_into_parts_trains_as_a_whole_one(distiller, batch, rows):
    """`accumulation_steps` and a last batch of any size, of a known or an unknown number of rows."""
    features, labels, _ = batch(7)
    data = tf.data.Dataset.from_tensor_slices((features, labels)).batch(7, drop_remainder=rows is not None)
    whole, parts = distiller(), distiller(accumulation_steps=3)
    parts.teacher.set_weights(whole.teacher.get_weights())
    parts.set_weights(whole.get_weights())
    histories = [model.fit(data.repeat(4), verbose=0).history for model in (whole, parts)]
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-4), name


@pytest.mark.slow
def test_the_student_is_exported_as_a_saved_model_and_by_tensorflows_converter(distiller, batch, tmp_path):
    made = distiller()
    features = batch()[0]
    expected = made.student(features)["logits"]
    for model, folder in ((made, "distiller"), (logits_model(made.student), "logits")):
        model(features)
        model.export(tmp_path / folder, verbose=False)
        served = tf.saved_model.load(str(tmp_path / folder))
        np.testing.assert_allclose(served.serve(features), expected, atol=1e-5)
    converted = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "logits")).convert()
    interpreter = tf.lite.Interpreter(model_content=converted)
    runner = interpreter.get_signature_runner("serving_default")
    (found,) = runner(**features).values()
    np.testing.assert_allclose(found, expected, atol=1e-4)
