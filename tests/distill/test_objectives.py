"""What an objective asks of the two networks, as a table, and which pairs it refuses."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.distill import Distiller, Match, TinyBertObjective, objectives
from tinybert_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("eagerly")


def rows(objective, student, teacher):
    """(term, student's output, teacher's output, weight) of each row."""
    return [(m.term, m.student, m.teacher, m.weight) for m in objectives.table(objective, student, teacher)]


def test_the_intermediate_stage_matches_every_layer_of_the_student_and_no_logits(network):
    assert rows(TinyBertObjective.intermediate(), network(layers=2), network(layers=6)) == [
        ("attention_loss", "attention_logits/0", "attention_logits/2", 1.0),
        ("attention_loss", "attention_logits/1", "attention_logits/5", 1.0),
        ("hidden_loss", "hidden_states/1", "hidden_states/3", 1.0),
        ("hidden_loss", "hidden_states/2", "hidden_states/6", 1.0),
        ("embedding_loss", "hidden_states/0", "hidden_states/0", 1.0),
    ]


def test_the_prediction_stage_reads_logits_alone(network):
    expected = [("prediction_loss", "logits", "logits", 1.0)]
    assert rows(TinyBertObjective.prediction(), network(), network(layers=6)) == expected


def test_the_prediction_stage_does_not_mind_a_teacher_with_fewer_layers_or_other_heads(network):
    assert rows(TinyBertObjective.prediction(), network(layers=4, heads=4), network(layers=2, heads=2))


def test_a_weight_a_layer_leaves_layers_of_weight_zero_out(network):
    objective = TinyBertObjective(attention_weight=[0, 1], hidden_weight=[0.5, 0], embedding_weight=0)
    assert rows(objective, network(layers=2), network(layers=4)) == [
        ("attention_loss", "attention_logits/1", "attention_logits/3", 1),
        ("hidden_loss", "hidden_states/1", "hidden_states/2", 0.5),
    ]


def test_a_list_of_weights_of_another_length_is_refused(network):
    for name in ("attention_weight", "hidden_weight"):
        with pytest.raises(InputError, match=rf"{name}=\[1, 2, 3\]: needs one number, or one for each of 2 layers"):
            TinyBertObjective(**{name: [1, 2, 3]}).matches(network(layers=2), network(layers=4))


def test_other_head_counts_are_refused_with_both_and_the_ways_out(network):
    student, teacher = network(hidden=8, heads=2), network(hidden=16, heads=4, layers=4)
    with pytest.raises(InputError) as caught:
        TinyBertObjective().matches(student, teacher)
    message = str(caught.value)
    assert "student has 2 attention heads" in message and "teacher 4" in message
    assert "num_attention_heads=4" in message and "attention_weight=0" in message
    assert TinyBertObjective(attention_weight=0).matches(student, teacher)
    assert TinyBertObjective(attention_weight=[0, 0]).matches(student, teacher)


def test_a_layer_map_that_does_not_fit_is_refused_when_layers_are_matched(network):
    with pytest.raises(InputError, match="the student has 4 layers but the teacher only 2"):
        TinyBertObjective().matches(network(layers=4), network(layers=2))
    with pytest.raises(InputError, match="layer map"):
        TinyBertObjective(layers=[1]).matches(network(layers=2), network(layers=2))


@pytest.mark.parametrize(
    ("student", "teacher", "mapped"),
    [
        ({"layers": 4, "hidden": 24, "heads": 12}, {"layers": 6, "hidden": 48, "heads": 12}, (2, 3, 5, 6)),
        ({"layers": 3, "hidden": 8}, {"layers": 7, "hidden": 8}, (2, 5, 7)),
    ],
)
def test_neither_a_hidden_size_of_768_nor_a_multiple_of_layers_is_needed(network, student, teacher, mapped):
    table = rows(TinyBertObjective(), network(**student), network(**teacher))
    assert [t for term, _, t, _ in table if term == "hidden_loss"] == [f"hidden_states/{n}" for n in mapped]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding": "include"}, "padding='include': must be exclude or reference"),
        ({"reduction": "sum"}, "reduction='sum': must be batch or reference"),
        ({"temperature": 0}, "temperature=0: must be above 0"),
        ({"temperature": float("nan")}, "temperature=nan: must be above 0"),
        ({"temperature": float("inf")}, "temperature=inf: must be above 0"),
        ({"temperature": "2"}, "temperature=2: must be above 0"),
        ({"layers": 3}, "layers=3: must be uniform, top, bottom, or a list of teacher layers"),
        ({"prediction_weight": [1, 2]}, r"prediction_weight=\[1, 2\]: must be a number"),
        ({"hidden_weight": -1.0}, "hidden_weight=-1.0: must be a number of at least 0"),
        ({"attention_weight": [1, -2]}, r"attention_weight=\[1, -2\]: must be a number of at least 0"),
        ({"attention_weight": 0, "hidden_weight": [0, 0], "embedding_weight": 0.0}, "all weights are 0"),
    ],
)
def test_settings_that_cannot_train_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TinyBertObjective(**settings)


def test_weights_may_be_numbers_of_numpy(network):
    objective = TinyBertObjective(hidden_weight=np.float32(0.5), attention_weight=np.int64(2))
    assert {m.weight for m in objective.matches(network(), network()) if m.term == "hidden_loss"} == {0.5}


def test_a_match_that_cannot_be_computed_is_refused(network):
    with pytest.raises(InputError, match="weight=-1: must be a number"):
        Match("term", len, "logits", "logits", weight=-1)
    with pytest.raises(InputError, match="over='columns': must be one of rows, tokens, pairs, words"):
        Match("term", len, "logits", "logits", over="columns")
    with pytest.raises(InputError, match="project=True: needs one output of the student, and the teacher's"):
        Match("term", len, "logits", project=True)
    with pytest.raises(InputError, match="all weights are 0"):
        objectives.table([Match("term", len, "logits", weight=0)], network(), network())
    with pytest.raises(InputError, match="a list of both, not a str"):
        objectives.table(["prediction"], network(), network())


# === A user's own terms ===


@keras.saving.register_keras_serializable(package="tests")
def cls_distance(student, teacher, batch):
    """1 - cosine of the [CLS] states: [B, S, D] -> [B]."""
    return 1 + keras.losses.cosine_similarity(teacher[:, 0], student[:, 0])


@keras.saving.register_keras_serializable(package="tests")
def value_relations(student, teacher, batch):
    """MiniLM's KL divergence of value relations (Wang et al. 2020, equation 7): [B, S, D] -> [B, heads, S] -> [B, S]."""

    def log_relations(values, heads=2):
        batch_size, length, width = tf.unstack(tf.shape(values))
        split = tf.transpose(tf.reshape(values, [batch_size, length, heads, -1]), [0, 2, 1, 3])
        products = tf.matmul(split, split, transpose_b=True) / (tf.cast(width, tf.float32) / heads) ** 0.5
        padding = 1 - tf.cast(batch.mask, tf.float32)
        return tf.nn.log_softmax(products - 1e9 * padding[:, None, None, :])

    student, teacher = log_relations(student), log_relations(teacher)
    return tf.reduce_mean(tf.reduce_sum(tf.exp(teacher) * (teacher - student), -1), axis=1)


def evaluated(distiller, data):
    features, labels, weight = data
    return distiller.evaluate(features, labels, sample_weight=weight, batch_size=8, verbose=0, return_dict=True)


def test_a_loss_of_the_users_own_is_a_term_like_the_others(network, batch):
    student, teacher = network(layers=2), network(layers=4)
    distiller = Distiller(teacher, student, Match("cls", cls_distance, "hidden_states/-1", "hidden_states/-1"))
    distiller.compile("adam")
    features, labels, _ = batch()
    weight = np.array([1, 0.5, 0, 2], np.float32)
    ours, theirs = (np.array(m(features)["hidden_states"][-1])[:, 0] for m in (student, teacher))
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    found = evaluated(distiller, (features, labels, weight))
    assert found["cls"] == found["loss"] == pytest.approx(np.average(1 - cosine, weights=weight), abs=1e-5)
    assert "logits" not in {name for m in distiller.matches for name in (m.student, m.teacher)}


def test_labels_are_mixed_in_with_a_weight(network, batch):
    student, teacher = network(layers=2), network(layers=4)
    objective = [TinyBertObjective.prediction(temperature=2.0), objectives.HardLabels(0.5)]
    distiller = Distiller(teacher, student, objective)
    distiller.compile("adam")
    features, labels, weight = batch()
    found = evaluated(distiller, (features, labels, weight))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert found["label_loss"] == pytest.approx(float(loss(labels, student(features)["logits"])), abs=1e-5)
    assert found["loss"] == pytest.approx(found["prediction_loss"] + 0.5 * found["label_loss"], rel=1e-5)
    with pytest.raises(InputError, match="the loss of the labels needs them"):
        distiller.evaluate(features, verbose=0)


@pytest.mark.compiled
@pytest.mark.parametrize("head", ["regression", "token_classification", "span", "classification"])
def test_labels_of_every_head_can_be_learned_without_reading_the_teacher(network, batch, head):
    kind = {"regression": {"label2id": None}, "span": {"label2id": None}}.get(head, {})
    student, teacher = network(head=head, **kind), network(head=head, **kind)
    distiller = Distiller(teacher, student, objectives.HardLabels())
    distiller.compile("adam")
    features, labels, weight = batch()
    labels = {
        "regression": labels.astype(np.float32),
        "token_classification": np.tile(labels[:, None], (1, 8)),
        "span": np.tile(labels[:, None], (1, 2)),
    }.get(head, labels)
    history = distiller.fit(features, labels, sample_weight=weight, epochs=8, verbose=0).history
    assert history["label_loss"][-1] < history["label_loss"][0]


@pytest.mark.compiled
def test_terms_read_the_inside_of_the_networks_by_name(network, batch):
    student, teacher = network(layers=2, hidden=8), network(layers=4, hidden=12, heads=3)
    objective = [
        Match("value_relations", value_relations, "values/-1", "values/-1", over="tokens"),
        Match("query_relations", value_relations, "queries/1", "queries/3", over="tokens"),
        Match("key_relations", value_relations, "keys/0", "keys/0", weight=0.1, over="tokens"),
    ]
    distiller = Distiller(teacher, student, objective)
    distiller.compile(keras.optimizers.Adam(1e-2), accumulation_steps=2)
    history = distiller.fit(tf.data.Dataset.from_tensors(batch()), epochs=15, verbose=0).history
    assert 0 < history["loss"][-1] < 0.7 * history["loss"][0]
    states = student(batch()[0])["hidden_states"]
    outputs = distiller._frozen.read_student(batch()[0])
    layer = student.transformer_layers[1].attention
    np.testing.assert_allclose(outputs["queries/1"], layer.query(states[1]), atol=1e-6)
    np.testing.assert_allclose(outputs["values/-1"], layer.value(states[1]), atol=1e-6)


def test_attention_probabilities_are_the_softmax_of_the_logits(network, batch):
    features = batch()[0]

    def difference(student, teacher, batch):
        return tf.reduce_sum(tf.abs(student - teacher), axis=[1, 2, 3])

    distiller = Distiller(
        network(), network(), Match("p", difference, "attention_probabilities/0", "attention_logits/0")
    )
    outputs = distiller._frozen.read_student(features)
    expected = tf.nn.softmax(distiller.student(features)["attention_logits"][0])
    np.testing.assert_allclose(outputs["attention_probabilities/0"], expected, atol=1e-6)


def test_an_output_that_is_not_there_is_refused_with_what_there_is(network):
    with pytest.raises(
        InputError, match=r"no output 'hidden_states/5'; it has 2 layers, hidden_states/0 to hidden_states/2"
    ):
        Distiller(network(), network(), Match("x", cls_distance, "hidden_states/5", "hidden_states/1"))


def test_a_loss_with_weights_of_its_own_is_trained(network, batch):
    class Blend(keras.layers.Layer):
        """The student's last state against a learned mixture of two of the teacher's."""

        def __init__(self):
            super().__init__()
            self.mix = self.add_weight(shape=(2,), initializer="zeros", name="mix")
            self.built = True

        def call(self, student, teacher, batch):
            weights = tf.nn.softmax(self.mix)
            target = sum(weights[i] * state for i, state in enumerate(teacher))
            return tf.reduce_mean(tf.math.squared_difference(student, target), axis=-1)

    blend = Blend()
    objective = Match("blend", blend, "hidden_states/-1", ("hidden_states/1", "hidden_states/2"), over="tokens")
    distiller = Distiller(network(), network(), objective)
    distiller.compile(keras.optimizers.Adam(1e-2))
    distiller.fit(tf.data.Dataset.from_tensors(batch()).repeat(3), verbose=0)
    assert np.any(blend.mix.numpy() != 0)


def test_a_loss_of_another_shape_than_its_mean_is_refused(network, batch):
    def scalar(student, teacher, batch):
        return tf.reduce_mean(student - teacher)

    distiller = Distiller(network(), network(), Match("x", scalar, "logits", "logits"))
    distiller.compile("adam")
    with pytest.raises(InputError, match="return one value for each of the weights"):
        distiller.evaluate(batch()[0], verbose=0)


def test_objectives_come_back_from_their_configuration():
    objective = TinyBertObjective(layers=[2, 4], hidden_weight=[0, 1])
    again = TinyBertObjective.from_config(objective.get_config())
    assert dataclasses.asdict(again) == dataclasses.asdict(objective)
    match = Match("cls", cls_distance, "hidden_states/-1", ("logits", "pooled_output"), 0.5)
    assert Match.from_config(match.get_config()) == match


def test_a_state_is_projected_to_one_width(network):
    rows = [
        Match(name, tf.subtract, "hidden_states/1", of, project=True)
        for name, of in (("a", "hidden_states/1"), ("b", "logits"))
    ]
    with pytest.raises(InputError, match="is projected to 'hidden_states/1' of width 12 and to 'logits' of width"):
        Distiller(network(4, 12), network(), rows)
