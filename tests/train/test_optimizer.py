import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.errors import InputError
from tinybert_tf.train.optimizer import AdamW, LinearDecay, bert_adamw


def reference(values, gradients, rate, decay, clip, beta_1=0.9, beta_2=0.999, epsilon=1e-6):
    """AdamW with decoupled decay, in NumPy, one variable."""
    momentum = velocity = np.zeros_like(values)
    for step, gradient in enumerate(gradients, 1):
        gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
        values = values - rate * decay * values
        momentum = beta_1 * momentum + (1 - beta_1) * gradient
        velocity = beta_2 * velocity + (1 - beta_2) * gradient**2
        corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        values = values - corrected * momentum / (np.sqrt(velocity) + epsilon)
    return values


def test_the_update_is_adamw(seed):
    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    variable = keras.Variable(start, dtype="float32", name="kernel")
    optimizer = AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0, epsilon=1e-6)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    np.testing.assert_allclose(variable.numpy(), reference(start, gradients, 0.01, 0.1, 1.0), atol=1e-6)


def test_repeated_rows_of_an_embedding_count_together():
    """The norm of a sparse gradient is that of the dense one it stands for."""
    dense, sparse = (keras.Variable(np.ones((5, 2)), dtype="float32", name="embeddings") for _ in range(2))
    slices = tf.IndexedSlices(
        tf.constant([[3.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), tf.constant([1, 1, 4]), tf.constant([5, 2])
    )
    for variable, gradient in ((dense, tf.convert_to_tensor(slices)), (sparse, slices)):
        optimizer = bert_adamw(0.1, 10, clip_norm=1.0)
        optimizer.build([variable])
        optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(dense, sparse)


def test_biases_and_normalisation_are_not_decayed():
    names = {"kernel": True, "bias": False, "gamma": False, "beta": False, "embeddings": True}
    variables = [keras.Variable(np.ones(2), dtype="float32", name=name) for name in names]
    optimizer = bert_adamw(0.1, 10, warmup_proportion=0.0)
    optimizer.build(variables)
    optimizer.apply([tf.zeros(2)] * len(variables), variables)
    assert [bool(np.all(v.numpy() < 1.0)) for v in variables] == list(names.values())


def test_the_rate_rises_and_falls():
    schedule = LinearDecay(1.0, total_steps=10, warmup_steps=2)
    np.testing.assert_allclose(
        [schedule(step) for step in range(11)], [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0], atol=1e-6
    )
    constant = LinearDecay(1.0, total_steps=10, warmup_steps=2, decay=False)
    np.testing.assert_allclose([constant(step) for step in (0, 1, 9)], [0.5, 1, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -1e-4}, "learning_rate=-0.0001: must be a number of at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"total_steps": 0}, "total_steps=0: must be a number of at least 1"),
        ({"total_steps": float("nan")}, "total_steps=nan"),
        ({"warmup_proportion": 2}, "warmup_proportion=2: must be a number from 0 to 1"),
        ({"weight_decay": -1}, "weight_decay=-1"),
    ],
)
def test_rates_that_cannot_train_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        bert_adamw(**({"learning_rate": 1e-4, "total_steps": 10} | settings))


def test_weights_of_16_bits_are_refused():
    variable = keras.Variable(np.ones(3), dtype="bfloat16", name="kernel")
    with pytest.raises(InputError, match=r"bfloat16 is too coarse .*dtype='mixed_bfloat16'"):
        bert_adamw(1e-3, total_steps=10).build([variable])
