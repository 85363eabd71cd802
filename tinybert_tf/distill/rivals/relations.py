"""Relations between tokens as probability distributions, and the divergence between a teacher's and a student's.

Shapes: B batch, S sequence, D width, R relation heads.
"""

import tensorflow as tf

from tinybert_tf.distill.batch import Batch

# The logit of a position that is padding: no probability, yet finite in a log softmax.
_IMPOSSIBLE = -1e9


def relation_logits(first, second, heads: int) -> tf.Tensor:
    """Scaled dot products of two projections, split into relation heads (Wang et al. 2021, equation 5).

    >>> relation_logits(tf.ones([1, 3, 8]), tf.ones([1, 3, 8]), heads=2).shape
    TensorShape([1, 2, 3, 3])

    Args:
        first: float [B, S, D], queries, keys or values of all attention heads side by side.
        second: float [B, S, D].
        heads: R, of which D is a multiple; need not be the number of attention heads.

    Returns:
        float32 [B, R, S, S].
    """
    first, second = _split(first, heads), _split(second, heads)
    size = tf.cast(tf.shape(first)[-1], tf.float32)
    return tf.matmul(first, second, transpose_b=True) * tf.math.rsqrt(size)


def divergence(student, teacher, mask=None) -> tf.Tensor:
    """KL(teacher || student) of the distributions over the last axis, the mean over heads.

    Args:
        student: float [B, R, S, S] logits.
        teacher: float [B, R, S, S] logits.
        mask: int [B, S], 1 = token; padding has no probability on either side.

    Returns:
        float32 [B, S]: a value for each position whose relations are compared.
    """
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    if mask is not None:
        is_token = tf.cast(mask, tf.bool)[:, None, None, :]
        student, teacher = (tf.where(is_token, x, _IMPOSSIBLE) for x in (student, teacher))
    log_student, log_teacher = tf.nn.log_softmax(student), tf.nn.log_softmax(teacher)
    each = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return tf.reduce_mean(each, axis=1)


def attention_values(student, teacher, batch: Batch) -> tf.Tensor:
    """`divergence` of two layers' attention, as a loss over tokens of a `Match`."""
    return divergence(student, teacher, batch.mask)


def _split(x, heads: int) -> tf.Tensor:
    """[B, S, D] -> float32 [B, R, S, D / R]."""
    x = tf.cast(x, tf.float32)
    batch, seq = tf.unstack(tf.shape(x)[:2])
    return tf.transpose(tf.reshape(x, [batch, seq, heads, x.shape[-1] // heads]), [0, 2, 1, 3])
