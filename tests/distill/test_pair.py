"""Networks that do not belong together are refused before anything trains; labels are matched by name."""

import keras
import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.distill import Distiller, TinyBertObjective, check_inputs, check_vocabulary
from tinybert_tf.distill.rivals import build_bilstm
from tinybert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("eagerly")

PREDICTION = TinyBertObjective.prediction()


@pytest.mark.parametrize(
    ("objective", "student", "teacher", "message"),
    [
        (None, {"vocab_size": 60}, {}, "vocabulary of 60 words and the teacher of 50.*`vocab_size=50`"),
        (
            PREDICTION,
            {"label2id": {"a": 0, "b": 1, "c": 2}},
            {},
            "student's labels are a, b, c, the teacher's no, maybe, yes",
        ),
        (PREDICTION, {}, {"label2id": {"no": 0, "yes": 1}}, "student has 3 labels and the teacher 2"),
        (
            PREDICTION,
            {"label2id": {"score": 0}},
            {"head": "regression", "label2id": None},
            "head 'classification' and the",
        ),
        (
            PREDICTION,
            {"head": "token_classification"},
            {},
            "head 'token_classification' and the teacher 'classification'",
        ),
        (PREDICTION, {}, {"head": "encoder"}, "the prediction loss needs logits, but the teacher.*has none"),
    ],
)
def test_networks_that_do_not_belong_together_are_refused(network, objective, student, teacher, message):
    with pytest.raises(InputError, match=message):
        Distiller(network(**teacher), network(**student), objective)


@pytest.mark.parametrize("head", ["regression", "span"])
def test_classes_that_a_config_still_names_are_no_outputs(network, head):
    """A student of three classes that learns scores or spans keeps their names in its configuration."""
    assert Distiller(network(head=head, label2id=None), network(head=head), PREDICTION)


def test_layers_can_be_matched_between_other_heads_and_labels(network):
    assert Distiller(network(head="encoder"), network(label2id={"a": 0, "b": 1}))


def test_a_network_cannot_teach_itself(network):
    teacher = network()
    with pytest.raises(InputError, match="one network or share weights"):
        Distiller(teacher, teacher)
    with pytest.raises(InputError, match="one network or share weights"):
        Distiller(teacher, keras.Model(teacher.input, teacher.output["logits"]), PREDICTION)


def test_what_is_no_network_is_named(network):
    with pytest.raises(InputError, match="the teacher is a str, not a Keras model; load a directory with `load_model`"):
        Distiller("runs/teacher", network())


def test_labels_in_another_order_are_matched_by_name(network, batch):
    """A student that equals its teacher but for the order has the loss of one that equals it whole."""
    student, same = network(), network()
    other = network(label2id={"yes": 0, "no": 1, "maybe": 2})
    for model in (same, other):
        model.set_weights(student.get_weights())
    order = [0, 1, 2]  # the student's rows in the teacher's order: yes, no, maybe
    order = [{"no": 0, "maybe": 1, "yes": 2}[label] for label in other.config.label2id]
    kernel, bias = student.head_layer.get_weights()
    other.head_layer.set_weights([kernel[:, order], bias[order]])
    found = []
    for teacher in (same, other):
        distiller = Distiller(teacher, student, PREDICTION)
        distiller.compile("adam")
        found.append(distiller.evaluate(batch()[0], verbose=0, return_dict=True)["loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_nameless_labels_are_taken_in_their_order(network):
    nameless = {f"LABEL_{index}": index for index in range(3)}
    assert Distiller(network(label2id=nameless), network(), PREDICTION)


def test_vocabularies_are_compared_word_by_word():
    check_vocabulary(["a", "b"], ["a", "b"], "student/vocab.txt", "teacher/vocab.txt")
    with pytest.raises(InputError, match=r"has 3 words \(S\), the teacher's 2 \(T\)"):
        check_vocabulary(["a", "b", "c"], ["a", "b"], "S", "T")
    with pytest.raises(InputError, match="word 1 is 'c' in S and 'b' in T"):
        check_vocabulary(["a", "c"], ["a", "b"], "S", "T")


def test_inputs_that_a_network_cannot_read_are_refused(network, batch):
    check_inputs(network(), "student", 16, pairs=True)
    with pytest.raises(InputError, match="seq_len=17: the student has 16 positions; take a smaller one"):
        check_inputs(network(), "student", 17, pairs=False)
    with pytest.raises(InputError, match="type_vocab_size=1, but the task's pairs of texts need 2"):
        check_inputs(network(type_vocab_size=1), "model", 16, pairs=True)
    with pytest.raises(InputError, match="seq_len=20: the model has 16 positions"):
        network()(batch(length=20)[0])


# === Models that are no BertModel ===


def bag_of_words(activation=None, names=("input_word_ids",), classes=3):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    hidden = keras.layers.Embedding(50, 6)(inputs[names[0]])
    hidden = keras.layers.GlobalAveragePooling1D()(hidden)
    return keras.Model(inputs, keras.layers.Dense(classes, activation=activation, name="answer")(hidden))


@pytest.mark.parametrize(
    "names", [("input_word_ids",), pytest.param(("token_ids", "padding_mask"), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_any_keras_classifier_takes_part_in_the_prediction_stage(network, batch, role, names):
    """With TF-Models' names of the inputs, or with KerasHub's."""
    plain = bag_of_words(names=names)
    pair = (network(), plain) if role == "student" else (plain, network())
    distiller = Distiller(*pair, TinyBertObjective.prediction())
    distiller.compile(keras.optimizers.Adam(1e-2), metrics=["accuracy"])
    features, labels, weight = batch()
    history = distiller.fit(features, labels, sample_weight=weight, epochs=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and "accuracy" in history
    assert distiller.predict(features, verbose=0).shape == (4, 3)


def test_probabilities_teach_what_their_logits_teach(network, batch):
    logits, probabilities = bag_of_words(), bag_of_words("softmax")
    probabilities.set_weights(logits.get_weights())
    by_operation = keras.Model(logits.input, keras.ops.softmax(logits.output))
    inside = keras.Model(logits.input, probabilities(logits.input))
    student, found = network(), []
    for teacher in (logits, probabilities, by_operation, inside):
        distiller = Distiller(teacher, student, TinyBertObjective.prediction(temperature=3.0))
        distiller.compile("adam")
        found.append(distiller.evaluate(batch()[0], verbose=0, return_dict=True)["loss"])
    assert found[1:] == pytest.approx([found[0]] * 3, rel=1e-5)


def test_a_subclassed_model_can_teach_once_it_has_weights(network, batch):
    class Teacher(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = bag_of_words()

        def call(self, features):
            return {"logits": self.inner({"input_word_ids": features["input_word_ids"]})}

    teacher = Teacher()
    with pytest.raises(InputError, match="has no weights yet; call it on a batch of features first"):
        Distiller(teacher, network(), PREDICTION)
    teacher(batch()[0])
    distiller = Distiller(teacher, network(), PREDICTION)
    distiller.compile("adam")
    assert np.isfinite(distiller.evaluate(batch()[0], verbose=0, return_dict=True)["loss"])


def test_layers_of_a_plain_model_cannot_be_matched(network):
    with pytest.raises(InputError, match=r"read layers of a BertModel.*take TinyBertObjective.prediction\(\)"):
        Distiller(network(), bag_of_words())


def test_features_that_a_network_does_not_find_are_named(network, batch):
    distiller = Distiller(bag_of_words(names=("words",)), network(), PREDICTION)
    distiller.compile("adam")
    with pytest.raises(InputError, match="reads words, but the features are input_word_ids, .*; words is missing"):
        distiller.evaluate(batch()[0], verbose=0)


def test_a_bilstm_s_labels_and_words_are_compared_as_well(network):
    """Its classes are matched by name, as a BERT's are."""
    teacher = network()
    labels = {"yes": 0, "no": 1, "maybe": 2}
    distiller = Distiller(teacher, build_bilstm(50, labels), tb.objectives.LogitsKD())
    assert distiller._frozen.order == [2, 0, 1]
    with pytest.raises(InputError, match="student's labels are a, b, c, the teacher's no, maybe, yes"):
        Distiller(teacher, build_bilstm(50, {"a": 0, "b": 1, "c": 2}), tb.objectives.LogitsKD())
    with pytest.raises(InputError, match="vocabulary of 10 words and the teacher of 50"):
        Distiller(teacher, build_bilstm(10, labels), tb.objectives.LogitsKD())


def test_a_logits_model_is_the_network_that_it_wraps(network):
    """With the names of its classes and its head."""
    teacher, student = network(), network(label2id={"yes": 0, "maybe": 1, "no": 2})
    distiller = Distiller(tb.bert.logits_model(teacher), tb.bert.logits_model(student), PREDICTION)
    assert distiller.teacher is teacher and distiller.student is student
    assert distiller._frozen.order == [2, 1, 0]


def test_a_sigmoid_is_not_compared_with_logits():
    probability, score = bag_of_words("sigmoid", classes=1), bag_of_words(classes=1)
    with pytest.raises(InputError, match="the teacher ends in a sigmoid and the student does not"):
        Distiller(probability, score, PREDICTION)
    Distiller(bag_of_words("sigmoid", classes=1), probability, PREDICTION)


def test_a_student_that_is_frozen_is_refused(network):
    """A network that taught another is: trained, it would stay as it is without a word."""
    taught = network()
    Distiller(taught, network(), TinyBertObjective.intermediate())
    with pytest.raises(
        InputError, match=r"is frozen, as a network is that taught another: set `student.trainable = True`"
    ):
        Distiller(network(), taught, TinyBertObjective.intermediate())


def test_a_plain_tagger_s_words_count_by_their_weights(batch):
    """[B, S, C] are logits of words, with or without a mask among the features."""
    features, _, _ = batch()
    ids = keras.Input((None,), dtype="int32", name="input_word_ids")
    teacher, student = (keras.Model(ids, keras.layers.Dense(3)(keras.layers.Embedding(50, 4)(ids))) for _ in range(2))
    distiller = Distiller(teacher, student, TinyBertObjective.prediction(temperature=1.0))
    distiller.compile("adam")
    words, weight = {"input_word_ids": features["input_word_ids"]}, np.zeros((4, 8), np.float32)
    weight[:, 0] = 1
    found = distiller.evaluate(words, np.zeros((4, 8)), sample_weight=weight, verbose=0, return_dict=True)["loss"]
    target, logits = (np.asarray(model(words["input_word_ids"]))[:, 0] for model in (teacher, student))
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    share = np.exp(target) / np.exp(target).sum(-1, keepdims=True)
    assert found == pytest.approx(-(share * log).sum(-1).mean(), rel=1e-5)
