"""A student that starts from its teacher: what it computes before any training."""

import keras
import numpy as np
import pytest

from tinybert_tf.bert import logits_model
from tinybert_tf.bert.config import FAMILIES
from tinybert_tf.distill import Distiller, TinyBertObjective, initialize_student
from tinybert_tf.errors import InputError


@pytest.fixture
def batches(batch):
    return [batch(rows=32, length=12, seed=seed)[0] for seed in range(3)]


def largest_difference(ours, theirs):
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(ours, theirs, strict=True))


def distillation_loss(teacher, student, projections, features):
    distiller = Distiller(teacher, student, TinyBertObjective.intermediate(), projections)
    distiller.compile("sgd")
    return distiller.evaluate(features, verbose=0, return_dict=True)["loss"]


@pytest.mark.parametrize(
    ("changes", "init", "message"),
    [
        (
            {"classifier_activation": "relu"},
            "teacher_projection",
            "has classifier_activation=None and the teacher relu; build",
        ),
        ({"classifier_activation": "relu"}, "layer_copy", "has classifier_activation=None and the teacher relu; build"),
        ({"hidden_act": "relu"}, "layer_copy", "has hidden_act=gelu and the teacher relu; copied layers"),
    ],
)
def test_functions_that_would_compute_something_else_are_refused(network, batches, changes, init, message):
    with pytest.raises(InputError, match=message):
        initialize_student(network(), network(**changes), init, batches=batches)


def test_a_teacher_of_nan_and_rows_without_batches_are_refused(network, batches):
    teacher = network()
    weights = teacher.get_weights()
    weights[0][3, 0] = np.nan
    with pytest.raises(
        InputError, match=r"batches has input_word_ids of shape \[12\], not \[rows, tokens\]; batch the"
    ):
        initialize_student(network(), teacher, batches=[{name: value[0] for name, value in batches[0].items()}])
    teacher.set_weights(weights)
    with pytest.raises(InputError, match="the teacher: tensor .* holds NaN or infinity"):
        initialize_student(network(), teacher, batches=batches)


def test_a_projection_of_equal_width_reproduces_the_teacher(network, batches):
    teacher, student = network(layers=3), network(layers=3)
    projections = initialize_student(student, teacher, "teacher_projection", batches=batches)
    ours, theirs = student(batches[0]), teacher(batches[0])
    assert largest_difference([ours["logits"]], [theirs["logits"]]) < 1e-4
    unmasked = lambda outputs: [np.maximum(logits, -100) for logits in outputs["attention_logits"]]
    assert largest_difference(unmasked(ours), unmasked(theirs)) < 1e-4
    restored = [state @ kernel + bias for state, (kernel, bias) in zip(ours["hidden_states"], projections, strict=True)]
    is_token = batches[0]["input_mask"].astype(bool)
    tokens = lambda states: [np.asarray(state)[is_token] for state in states]
    assert largest_difference(tokens(restored), tokens(theirs["hidden_states"])) < 1e-4


MPNET = {"model_type": "mpnet"} | FAMILIES["mpnet"]


def test_an_mpnet_s_student_has_its_bias_by_relative_position(network, batches):
    teacher, student, copy = network(layers=3, **MPNET), network(layers=3, **MPNET), network(layers=3, **MPNET)
    initialize_student(student, teacher, "teacher_projection", batches=batches)
    initialize_student(copy, teacher, "layer_copy")
    for model in (student, copy):
        assert largest_difference([model(batches[0])["logits"]], [teacher(batches[0])["logits"]]) < 1e-4
    narrow = network(layers=2, hidden=4, **MPNET)
    projections = initialize_student(narrow, teacher, "teacher_projection", batches=batches)
    bias = lambda model: np.asarray(model.relative_attention_bias.embeddings)
    np.testing.assert_array_equal(bias(narrow), bias(teacher))
    plain = network(layers=2, hidden=4)
    others = initialize_student(plain, teacher, "teacher_projection", batches=batches)
    assert distillation_loss(teacher, narrow, projections, batches[0]) < distillation_loss(
        teacher, plain, others, batches[0]
    )


@pytest.mark.slow
def test_an_electra_s_student_has_its_narrow_embeddings(network, batches):
    electra = {"model_type": "electra", "embedding_size": 4}
    teacher, student, copy = network(layers=3, **electra), network(layers=3, **electra), network(layers=3, **electra)
    initialize_student(student, teacher, "teacher_projection", batches=batches)
    initialize_student(copy, teacher, "layer_copy")
    for model in (student, copy):
        assert largest_difference([model(batches[0])["logits"]], [teacher(batches[0])["logits"]]) < 1e-4
    narrow, plain, random = (
        network(layers=2, hidden=6, **electra),
        network(layers=2, hidden=6),
        network(layers=2, hidden=6),
    )
    losses = [
        distillation_loss(teacher, model, initialize_student(model, teacher, init, batches=batches), batches[0])
        for model, init in ((narrow, "teacher_projection"), (plain, "teacher_projection"), (random, "random"))
    ]
    assert losses[0] < losses[2] and losses[1] < losses[2]


def test_a_student_of_another_family_has_nothing_where_its_teacher_has_no_table(network, batches):
    teacher, student = network(**MPNET), network()
    initialize_student(student, teacher, "layer_copy")
    assert not np.any(student.embeddings.token_type_embeddings.embeddings)
    teacher, student = network(), network(**MPNET)
    initialize_student(student, teacher, "layer_copy")
    assert not np.any(student.relative_attention_bias.embeddings)


def test_a_narrower_projection_starts_far_below_random_weights(network, batches):
    teacher = network(layers=4, hidden=16)
    projected, random = (network(layers=2, hidden=12, intermediate_size=24) for _ in range(2))
    projections = initialize_student(projected, teacher, "teacher_projection", batches=batches)
    loss = distillation_loss(teacher, projected, projections, batches[0])
    assert loss < 0.5 * distillation_loss(teacher, random, None, batches[0])


def test_a_projection_depends_on_the_tokens_not_on_their_batches(network, batches):
    teacher = network(layers=3)
    rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    # One row at a time, from the last to the first, each with padding of its own length, and a row without a token.
    padded = [{name: np.pad(rows[name][[row]], ((0, 0), (0, row % 3))) for name in rows} for row in range(95, -1, -1)]
    padded.append({name: np.zeros((1, 5), np.int32) for name in rows})
    made = []
    for given in (batches, padded):
        student = network(layers=2, hidden=4)
        projections = initialize_student(student, teacher, "teacher_projection", batches=given)
        made.append([*student.get_weights(), *(array for projection in projections for array in projection)])
    assert largest_difference(*made) < 1e-3


def test_layer_copy_takes_the_mapped_layers_and_the_head(network, batches):
    teacher, student = network(layers=4), network(layers=2)
    assert initialize_student(student, teacher, "layer_copy") is None
    for layer, number in zip(student.transformer_layers, (2, 4), strict=True):
        for ours, theirs in zip(layer.get_weights(), teacher.transformer_layers[number - 1].get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(student.head_layer.kernel, teacher.head_layer.kernel)
    np.testing.assert_array_equal(student(batches[0])["hidden_states"][0], teacher(batches[0])["hidden_states"][0])


def test_random_leaves_the_student_alone(network):
    student = network()
    before = student.get_weights()
    assert initialize_student(student, network(), "random") is None
    assert largest_difference(student.get_weights(), before) == 0


@pytest.mark.parametrize(
    ("changes", "init", "said"),
    [
        ({"heads": 1}, "teacher_projection", "num_attention_heads=1 and the teacher 2"),
        ({"vocab_size": 7}, "layer_copy", "vocab_size=7"),
        ({"hidden": 64}, "teacher_projection", "hidden_size=64.*only be cut down"),
        ({"hidden": 4}, "layer_copy", "hidden_size=4.*teacher_projection"),
        ({"label2id": {"yes": 0, "no": 1}}, "layer_copy", "label2id"),
        (
            {"model_type": "distilbert", **FAMILIES["distilbert"]},
            "layer_copy",
            "pooler_activation=relu and the teacher tanh",
        ),
        ({}, "magic", "init='magic': is not known"),
    ],
)
def test_shapes_that_do_not_allow_it_are_named(network, batches, changes, init, said):
    student = network(**changes)
    before = student.get_weights()
    with pytest.raises(InputError, match=said):
        initialize_student(student, network(), init, batches=batches)
    assert largest_difference(student.get_weights(), before) == 0


def test_a_projection_without_text_is_refused(network, batches):
    with pytest.raises(InputError, match="batches of real text"):
        initialize_student(network(), network(), "teacher_projection")
    empty = [{name: np.zeros_like(value) for name, value in batches[0].items()}]
    with pytest.raises(InputError, match="hold no token"):
        initialize_student(network(), network(), "teacher_projection", batches=empty)


def test_a_masked_lm_head_is_copied_or_left_with_a_warning(network, batches, caplog):
    teacher, same, narrow = (network(layers=2, hidden=hidden, head="masked_lm") for hidden in (8, 8, 4))
    features = {name: value[:2] for name, value in batches[0].items()}
    initialize_student(same, teacher, "teacher_projection", batches=batches)
    assert largest_difference([same(features)["logits"]], [teacher(features)["logits"]]) < 1e-4
    assert not caplog.messages
    before = narrow.head_layer.get_weights()[0]
    initialize_student(narrow, teacher, "teacher_projection", batches=batches)
    np.testing.assert_array_equal(narrow.head_layer.get_weights()[0], before)
    assert "cannot make a masked-LM head narrower" in caplog.text


def test_a_logits_model_stands_for_its_network_and_others_are_refused(network, batches):
    teacher, student = network(4, 12), network(2, 12)
    found = initialize_student(logits_model(student), logits_model(teacher), batches=batches)
    assert len(found) == 3
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="student is a Sequential; give a BertModel"):
        initialize_student(other, teacher, batches=batches)
