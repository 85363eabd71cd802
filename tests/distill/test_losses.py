"""Each loss against the paper's equation, written out in NumPy with loops where that is plainest."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from tinybert_tf.distill import losses
from tinybert_tf.errors import InputError

B, H, S, D, C = 3, 2, 5, 4, 3
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], np.int32)
WEIGHT = np.array([1.0, 0.5, 0.0], np.float32)

with_mask = pytest.mark.parametrize("mask", [None, MASK], ids=["no_mask", "mask"])
with_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no_weight", "weight"])
with_padding = pytest.mark.parametrize("padding", ["exclude", "reference"])


def pair(*shape):
    random = np.random.default_rng(sum(shape))
    return (3 * random.standard_normal((2, *shape))).astype(np.float32)


def attention_pair():
    """Logits as the network hands them out: masked keys carry the mask's large negative number."""
    student, teacher = pair(B, H, S, S)
    hidden_keys = -10000.0 * (1 - MASK)[:, None, None, :]
    return (student + hidden_keys).astype(np.float32), (teacher + hidden_keys).astype(np.float32)


def reference_attention(student, teacher, mask, weight, padding):
    total = count = 0.0
    for b in range(B):
        for h in range(H):
            for query in range(S):
                for key in range(S):
                    s, t = float(student[b, h, query, key]), float(teacher[b, h, query, key])
                    if padding == "reference":
                        s, t = (0.0 if x <= -1e2 else x for x in (s, t))
                    elif mask is not None and not (mask[b, query] and mask[b, key]):
                        continue
                    factor = 1.0 if weight is None else float(weight[b])
                    total += factor * (s - t) ** 2
                    count += factor
    return total / count


def reference_hidden(student, teacher, mask, weight, padding):
    counted = np.ones((B, S)) if mask is None or padding == "reference" else mask.astype(float)
    counted = counted * (np.ones(B) if weight is None else weight)[:, None]
    return ((student.astype(float) - teacher) ** 2 * counted[..., None]).sum() / (counted.sum() * D)


@with_mask
@with_weight
@with_padding
def test_attention_loss_is_equation_7(mask, weight, padding):
    student, teacher = attention_pair() if mask is not None else pair(B, H, S, S)
    expected = reference_attention(student, teacher, mask, weight, padding)
    found = losses.attention_loss(student, teacher, mask, weight, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@with_mask
@with_weight
@with_padding
def test_hidden_loss_is_equation_8(mask, weight, padding):
    student, teacher = pair(B, S, D)
    expected = reference_hidden(student, teacher, mask, weight, padding)
    np.testing.assert_allclose(losses.hidden_loss(student, teacher, mask, weight, padding), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.embedding_loss(student, teacher, mask, weight, padding), expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("reduction", ["batch", "reference"])
@with_weight
def test_prediction_loss_is_equation_10(temperature, reduction, weight):
    student, teacher = pair(B, C)
    rows = -(softmax(teacher / temperature, -1) * log_softmax(student / temperature, -1)).sum(-1)
    if reduction == "reference":
        rows = rows / C
    expected = np.average(rows, weights=weight)
    found = losses.prediction_loss(student, teacher, temperature, weight, reduction)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@with_weight
def test_regression_loss_is_the_mean_squared_error(weight):
    student, teacher = pair(B, 1)
    expected = np.average((student - teacher)[:, 0].astype(float) ** 2, weights=weight)
    np.testing.assert_allclose(losses.regression_loss(student, teacher, weight), expected, rtol=1e-6)


def test_the_published_reduction_shrinks_with_the_number_of_classes():
    student, teacher = pair(B, C)
    ours, theirs = (losses.prediction_loss(student, teacher, reduction=r) for r in ("batch", "reference"))
    np.testing.assert_allclose(ours, C * theirs, rtol=1e-6)


LOSSES = {
    "attention": (losses.attention_loss, attention_pair, True),
    "hidden": (losses.hidden_loss, lambda: pair(B, S, D), True),
    "prediction": (losses.prediction_loss, lambda: pair(B, C), False),
    "regression": (losses.regression_loss, lambda: pair(B, 1), False),
}


def test_parts_of_a_mean_add_up_to_that_of_the_whole():
    values, weights = pair(B, S)
    weights = np.abs(weights)
    parts = [losses.mean(values[rows], weights[rows]) for rows in (slice(0, 1), slice(1, 3))]
    whole = losses.Mean(*np.sum(parts, axis=0)).result()
    np.testing.assert_allclose(whole, np.average(values, weights=weights), rtol=1e-5)


def test_weights_of_positions_count_a_row_by_the_largest():
    weight = np.array([[0, 2, 1], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(losses.row_weights(weight, 2), [2, 0])
    np.testing.assert_array_equal(losses.token_weights([[1, 1, 0], [1, 1, 1]], weight), [[2, 2, 0], [0, 0, 0]])


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_of_weight_zero_changes_nothing(name):
    loss, values, masked = LOSSES[name]
    student, teacher = values()
    options = {"mask": MASK} if masked else {}
    before = loss(student, teacher, weight=WEIGHT, **options)
    student[2] = 1e3
    np.testing.assert_array_equal(loss(student, teacher, weight=WEIGHT, **options), before)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_which_nothing_counts_has_loss_zero_and_gradient_zero(name):
    loss, values, _ = LOSSES[name]
    student, teacher = map(tf.constant, values())
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss(student, teacher, weight=np.zeros(B, np.float32))
    assert float(value) == 0.0
    np.testing.assert_array_equal(tape.gradient(value, student), np.zeros(student.shape))


def test_padded_positions_count_only_with_reference_padding():
    student, teacher = pair(B, S, D)
    far = student + 50.0 * (1 - MASK)[..., None]
    exclude = [float(losses.hidden_loss(x, teacher, MASK)) for x in (student, far)]
    reference = [float(losses.hidden_loss(x, teacher, MASK, padding="reference")) for x in (student, far)]
    assert exclude[0] == pytest.approx(exclude[1], rel=1e-6)
    assert reference[1] > 10 * reference[0]


def test_bfloat16_states_are_compared_in_float32():
    student, teacher = (tf.cast(x, tf.bfloat16) for x in pair(B, S, D))
    found = losses.hidden_loss(student, teacher, MASK)
    assert found.dtype == tf.float32
    expected = losses.hidden_loss(tf.cast(student, tf.float32), tf.cast(teacher, tf.float32), MASK)
    np.testing.assert_array_equal(found, expected)


def test_what_has_no_meaning_is_refused():
    states, logits = pair(B, S, D), pair(B, C)
    with pytest.raises(InputError, match="padding='ignore': must be exclude or reference"):
        losses.hidden_loss(*states, MASK, padding="ignore")
    with pytest.raises(InputError, match="reduction='sum': must be batch or reference"):
        losses.prediction_loss(*logits, reduction="sum")
    for temperature in (0, -1.0):
        with pytest.raises(InputError, match="temperature=.*must be above 0"):
            losses.prediction_loss(*logits, temperature=temperature)
        with pytest.raises(InputError, match="temperature=.*must be above 0"):
            losses.span_loss(*pair(B, S, 2), temperature=temperature)


def test_attention_of_one_head_is_not_spread_over_many():
    student, teacher = pair(B, H, S, S)
    with pytest.raises(InputError, match="student has 1 attention heads and the teacher 2"):
        losses.attention_loss(student[:, :1], teacher)


def test_labels_may_have_an_axis_of_one():
    logits, labels = pair(B, C)[0], np.array([0, 2, 1])
    expected = -log_softmax(logits, axis=-1)[np.arange(B), labels]
    for given in (labels, labels[:, None]):
        np.testing.assert_allclose(losses.label_values(tf.constant(given), logits), expected, rtol=1e-5)


def test_nothing_is_spread_over_another_shape():
    scores = np.arange(3, dtype=np.float32)
    assert float(losses.regression_loss(scores[:, None], scores)) == 0
    for loss, student, teacher in (
        (losses.prediction_loss, (2, 3), (2, 1)), (losses.hidden_loss, (2, 4, 8), (2, 4, 1)),
    ):  # fmt: skip
        with pytest.raises(InputError, match="they must be equal"):
            loss(tf.zeros(student), tf.zeros(teacher))
    with pytest.raises(InputError, match="are not class ids, one for each example; take argmax"):
        losses.label_values(np.eye(3)[:2], tf.zeros([2, 3]))
