"""A learned layer map finds the teacher layers that a student's layers are made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.bert import BertConfig, BiLstmConfig, BiLstmModel, build_model
from tinybert_tf.distill import Distiller, initialize_student
from tinybert_tf.distill.soft_map import Annealing, LayerWeights, LearnedMapObjective, WeightedTerm
from tinybert_tf.errors import InputError
from tinybert_tf.train.optimizer import bert_adamw

pytestmark = pytest.mark.usefixtures("eagerly")

SIZES = {"vocab_size": 30, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 16}
LABELS = {"no": 0, "yes": 1}


def network(layers, seed):
    keras.utils.set_random_seed(seed)
    model = build_model(BertConfig(num_hidden_layers=layers, label2id=LABELS, **SIZES), "classification")
    for weight in model.weights:  # so that the layers differ
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.2))
    return model


@pytest.fixture
def features():
    ids = np.random.default_rng(0).integers(1, 30, (16, 8))
    mask = (np.arange(8) < np.random.default_rng(1).integers(4, 9, (16, 1))).astype(int)
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}


@pytest.mark.slow
@pytest.mark.parametrize("known", [[1, 2], [1, 3]])
def test_the_layers_that_a_student_was_copied_from_are_found(features, known):
    """Its first layer computes what the teacher's first computes; [1, 3]: the teacher's second layer changes nothing."""
    teacher, student = network(4, 1), network(2, 2)
    if known == [1, 3]:
        idle = teacher.transformer_layers[1]
        for weight in idle.weights:
            path = weight.path
            if "output/" in path or "gamma" in path or "beta" in path:
                weight.assign(np.zeros(weight.shape) if "gamma" not in path else np.ones(weight.shape))
        for weight in teacher.transformer_layers[0].weights:  # what it gives is normalized already
            if "output_layer_norm" in weight.path:
                weight.assign(np.ones(weight.shape) if "gamma" in weight.path else np.zeros(weight.shape))
    initialize_student(student, teacher, "layer_copy", known)
    steps = 30
    objective = LearnedMapObjective.of(student, teacher)
    objective.weights.set_reach(1e-3, steps)
    assert objective.weights.layers() == [1, 1]
    distiller = Distiller(teacher, student, objective)
    distiller.compile(bert_adamw(1e-3, steps))
    data = [features] * steps
    distiller.fit(iter_dataset(data), verbose=0, callbacks=[Annealing(objective.weights, steps)])
    assert objective.weights.layers() == known
    assert float(np.max(objective.weights.of(1))) > 0.9, "one layer is left at the end"


def iter_dataset(batches):
    import tensorflow as tf

    return tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature={key: tf.TensorSpec([None, None], tf.int64) for key in batches[0]}
    )


def test_a_term_is_the_weighted_sum_of_losses_over_the_variance_of_their_targets(features):
    from tinybert_tf.distill.batch import Batch

    weights = LayerWeights(1, 2)
    weights.theta.assign([[0.0, 1.0]])
    generator = np.random.default_rng(0)
    student, *targets = (generator.normal(size=(16, 8, 5)).astype(np.float32) * scale for scale in (1, 1, 3))
    found = WeightedTerm(weights, 0, "hidden", "exclude")(student, tuple(targets), batch=Batch(features))
    mask, share, expected = features["input_mask"] == 1, np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum(), 0
    for part, target in zip(share, targets, strict=True):
        expected = expected + part * ((student - target) ** 2).mean(-1) / target[mask].var(axis=0).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_gradient_of_a_map_does_not_grow_with_its_reach():
    norms = []
    for reach in (1.0, 400.0):
        weights = LayerWeights(2, 4, start=[2, 4])
        weights.reach.assign(reach)
        weights.theta.assign(weights.theta / reach)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights.of(0) * [1.0, 2.0, 3.0, 4.0])
        norms.append(float(tf.norm(tape.gradient(loss, weights.theta.value))))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) and norms[0] > 0


def test_a_map_begins_with_half_of_the_weight_on_the_layers_that_the_student_was_made_from():
    weights = LayerWeights(2, 4, start=(2, 4))
    for _ in range(2):  # before and after the stage's length is known
        np.testing.assert_allclose(weights.of(0), [1 / 6, 1 / 2, 1 / 6, 1 / 6], rtol=1e-5)
        assert weights.layers() == [2, 4]
        weights.set_reach(1e-4, 300)
    weights.theta.assign_sub([[0.0, 0.02, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])  # two thirds of what the optimizer can do
    assert weights.layers() == [1, 4], "the start can be overcome"
    assert np.allclose(LayerWeights(1, 1, start=(1,)).of(0), 1.0)
    copy = LayerWeights.from_config(weights.get_config())
    assert copy.layers() == [2, 4]


def test_a_network_without_layers_is_refused():
    with pytest.raises(InputError, match="a learned layer map reads layers of a BertModel"):
        LearnedMapObjective.of(BiLstmModel(BiLstmConfig(30, LABELS, 4, 3, 4)), network(2, 1))
