"""AdamW as BERT uses it."""

import math
import numbers
from collections.abc import Sequence

import keras
import tensorflow as tf

from tinybert_tf.distribution import all_reduce_sum
from tinybert_tf.errors import InputError

# Biases and normalization parameters are not decayed (Devlin et al.'s optimization.py names them in the same way).
UNDECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="tinybert_tf")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 over `warmup_steps`, then linear decay to 0 at `total_steps`, or a constant rate.

    >>> [round(float(LinearDecay(1.0, total_steps=4, warmup_steps=2)(step)), 2) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]

    Args:
        learning_rate: the peak.
        total_steps: updates until the rate is zero.
        warmup_steps: updates with a rising rate.
        decay: False keeps the rate constant after the warm-up.
    """

    def __init__(self, learning_rate: float, total_steps: int, warmup_steps: int = 0, decay: bool = True):
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay = decay

    def __call__(self, step):
        step = tf.cast(step, tf.float32) + 1.0
        rate = tf.constant(self.learning_rate, tf.float32)
        factor = tf.minimum(1.0, step / max(1, self.warmup_steps))
        if self.decay:
            left = (self.total_steps + 1.0 - step) / max(1, self.total_steps - self.warmup_steps)
            factor = tf.minimum(factor, tf.maximum(left, 0.0))
        return rate * factor

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable(package="tinybert_tf")
class AdamW(keras.optimizers.AdamW):
    """Keras' AdamW with its moments and its step in one kernel.

    Keras writes the update as a dozen elementwise passes over every variable. For a small BERT, most of whose parameters
    are the vocabulary, that costs as much as the matrix products of a short batch; TensorFlow's own kernel does it in one.
    Gradients of embeddings are summed into dense ones before the norm is taken, and those of all replicas into one, so that
    the clipping is exact. (Keras clips each replica's own: another update than that of one device.)

    Args:
        learning_rate: a number or a schedule.
        undecayed: words; a variable whose name has one of them in it is not decayed.
        **kwargs: as of `keras.optimizers.AdamW`, without `amsgrad`.
    """

    def __init__(self, learning_rate=0.001, *, undecayed: Sequence[str] = (), **kwargs):
        if kwargs.pop("amsgrad", False):
            raise InputError("is not supported; take keras.optimizers.AdamW", "amsgrad", True)
        super().__init__(learning_rate, **kwargs)
        self.exclude_from_weight_decay(var_names=list(undecayed))

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        super().exclude_from_weight_decay(var_list, var_names)
        self.undecayed = tuple(var_names or ())

    def get_config(self):
        return super().get_config() | {"undecayed": list(self.undecayed)}

    def build(self, variables):
        for variable in variables:
            if tf.as_dtype(variable.dtype).size < 4:
                raise InputError(
                    f"{variable.dtype} is too coarse for AdamW's second moment (beta_2={self.beta_2}); build the model with "
                    f"dtype='mixed_{variable.dtype}', whose weights are float32"
                )
        super().build(variables)
        # Of the last step, before clipping; a plain variable, so that checkpoints do not hold it.
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.gradient_norm = tf.Variable(0.0, trainable=False, aggregation=aggregation, name="gradient_norm")

    def _clip_gradients(self, gradients):
        summed = all_reduce_sum([tf.convert_to_tensor(gradient) for gradient in gradients])
        self.gradient_norm.assign(tf.cast(tf.linalg.global_norm(summed), tf.float32))
        return super()._clip_gradients(summed)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # they are summed already

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        variable, momentum, velocity = (
            v.value if isinstance(v, keras.Variable) else v
            for v in (variable, self._momentums[index], self._velocities[index])
        )
        exact = tf.float64 if variable.dtype == tf.float64 else tf.float32
        step = tf.cast(self.iterations + 1, exact)
        scalars = {
            "beta1_power": tf.pow(tf.cast(self.beta_1, exact), step),
            "beta2_power": tf.pow(tf.cast(self.beta_2, exact), step),
            "lr": learning_rate,
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "epsilon": self.epsilon,
        }
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
            **{name: tf.cast(value, variable.dtype) for name, value in scalars.items()},
        )


def bert_adamw(
    learning_rate: float,
    total_steps: int,
    *,
    warmup_proportion: float = 0.1,
    decay: bool = True,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
) -> AdamW:
    """BERT's optimizer: decoupled decay, warm-up, linear decay to zero, global gradient clipping.

    Unlike BERT's own, and like PyTorch's AdamW, it corrects the bias of the moments.

    >>> optimizer = bert_adamw(5e-5, total_steps=1000)
    >>> optimizer.undecayed
    ('bias', 'gamma', 'beta')

    Args:
        learning_rate: the peak.
        total_steps: updates until the rate is zero.
        warmup_proportion: share of `total_steps` with a rising rate.
        decay: False keeps the rate constant after the warm-up.
        weight_decay: of everything but biases and normalization.
        clip_norm: largest norm of all gradients together.

    Returns:
        An optimizer for `compile`.

    Raises:
        InputError: less than one step, or a rate, share or norm that is no number of its range.
    """
    ranges = {
        "total_steps": (total_steps, 1, math.inf),
        "learning_rate": (learning_rate, 0, math.inf),
        "warmup_proportion": (warmup_proportion, 0, 1),
        "weight_decay": (weight_decay, 0, math.inf),
        "clip_norm": (clip_norm, 0, math.inf),
    }
    for name, (value, low, high) in ranges.items():
        if not isinstance(value, numbers.Real) or not low <= value <= high or value == math.inf:
            limit = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
            raise InputError(f"must be a number {limit}", name, value)
    schedule = LinearDecay(learning_rate, total_steps, round(warmup_proportion * total_steps), decay)
    return AdamW(schedule, weight_decay=weight_decay, global_clipnorm=clip_norm, epsilon=1e-6, undecayed=UNDECAYED)
