"""AdamW as BERT uses it."""

import keras
import tensorflow as tf

from tinybert_tf.distribution import all_reduce_sum

# Biases and normalisation parameters are not decayed (Devlin et al.'s optimization.py names them in the same way).
UNDECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="tinybert_tf")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 over `warmup_steps`, then linear decay to 0 at `total_steps` (or constant)."""

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
    """

    def build(self, variables):
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
        step = tf.cast(self.iterations + 1, tf.float32)
        variable, momentum, velocity = (
            v.value if isinstance(v, keras.Variable) else v
            for v in (variable, self._momentums[index], self._velocities[index])
        )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
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
    """The optimizer of BERT and TinyBERT: decoupled decay, warm-up, linear decay to zero, global gradient clipping.

    Args:
        learning_rate: the peak.
        total_steps: updates until the rate is zero.
        warmup_proportion: share of `total_steps` with a rising rate.
        decay: False keeps the rate constant after the warm-up.
        weight_decay: of everything but biases and normalisation.
        clip_norm: largest norm of all gradients together.
    """
    schedule = LinearDecay(learning_rate, total_steps, round(warmup_proportion * total_steps), decay)
    optimizer = AdamW(schedule, weight_decay=weight_decay, global_clipnorm=clip_norm, epsilon=1e-6)
    optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer
