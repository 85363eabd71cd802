"""TinyBERT's losses as pure functions of tensors (Jiao et al. 2020, section 3.1).

Shapes: B batch, S sequence, D hidden size, H heads, C classes. Every loss is a mean over what counts: positions that hold
a token (`mask` [B, S], 1 = token) of examples with a weight (`weight` [B], 0 for the rows that fill up a batch).

Each loss has a twin with the suffix `_sum` that returns the numerator and the denominator of that mean. Over several
replicas, or several micro-batches, the parts add up to the loss of the whole batch; means of means would not.

`padding="reference"` is what the published code computes: masked keys are set to 0 in the attention logits of both sides,
and padded positions count like any other, so that the loss shrinks as padding grows.
"""

import tensorflow as tf

Sum = tuple[tf.Tensor, tf.Tensor]  # numerator and denominator, both float32 scalars

# The published code takes attention logits at or below this for masked.
_REFERENCE_MASKED = -1e2
# The logit of a position that cannot be meant: no probability, yet finite in a log softmax.
_IMPOSSIBLE = -1e9


def attention_loss_sum(student, teacher, mask=None, weight=None, padding: str = "exclude") -> Sum:
    """Numerator and denominator of `attention_loss`."""
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    if padding == "reference":
        student = tf.where(student <= _REFERENCE_MASKED, 0.0, student)
        teacher = tf.where(teacher <= _REFERENCE_MASKED, 0.0, teacher)
    positions = _counted_positions(student, mask, padding)
    pairs = positions[:, None, :, None] * positions[:, None, None, :]  # [B, 1, S, S]
    return _squared_error(student, teacher, pairs, weight)


def attention_loss(student, teacher, mask=None, weight=None, padding: str = "exclude") -> tf.Tensor:
    """Mean squared error of attention logits, equation 7.

    Args:
        student: [B, H, S, S] logits before the softmax, mask added.
        teacher: the same of the mapped teacher layer.
        mask: [B, S]; a pair of positions counts if both hold a token.
        weight: [B] example weights.
        padding: "exclude" or "reference".

    Returns:
        A scalar; 0 where nothing counts.
    """
    return tf.math.divide_no_nan(*attention_loss_sum(student, teacher, mask, weight, padding))


def hidden_loss_sum(student, teacher, mask=None, weight=None, padding: str = "exclude") -> Sum:
    """Numerator and denominator of `hidden_loss`."""
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    return _squared_error(student, teacher, _counted_positions(student, mask, padding)[:, :, None], weight)


def hidden_loss(student, teacher, mask=None, weight=None, padding: str = "exclude") -> tf.Tensor:
    """Mean squared error of hidden states, equation 8.

    Args:
        student: [B, S, D], already in the teacher's space: H_S W_h.
        teacher: [B, S, D], H_T of the mapped layer.
        mask: [B, S].
        weight: [B] example weights.
        padding: "exclude" or "reference".

    Returns:
        A scalar; 0 where nothing counts.
    """
    return tf.math.divide_no_nan(*hidden_loss_sum(student, teacher, mask, weight, padding))


# Equation 9 is equation 8 on the embedding output, after its normalisation.
embedding_loss_sum = hidden_loss_sum
embedding_loss = hidden_loss


def prediction_loss_sum(student, teacher, temperature: float = 1.0, weight=None, reduction: str = "batch") -> Sum:
    """Numerator and denominator of `prediction_loss`."""
    if reduction not in ("batch", "reference"):
        raise ValueError(f'reduction={reduction!r}: must be "batch" or "reference"')
    student = tf.cast(student, tf.float32) / temperature
    teacher = tf.cast(teacher, tf.float32) / temperature
    cross_entropy = -tf.reduce_sum(tf.nn.softmax(teacher) * tf.nn.log_softmax(student), axis=-1)
    if reduction == "reference":
        cross_entropy /= tf.cast(tf.shape(student)[-1], tf.float32)
    return _weighted(cross_entropy, weight)


def prediction_loss(student, teacher, temperature: float = 1.0, weight=None, reduction: str = "batch") -> tf.Tensor:
    """Soft cross-entropy of teacher and student logits, equation 10.

    Args:
        student: [B, C] logits z_S, or of every position [B, S, C].
        teacher: logits z_T, likewise.
        temperature: t; both sides are divided by it. No factor t^2, as in the paper.
        weight: [B] example weights, or [B, S] of positions.
        reduction: "batch" sums over the classes and averages over the batch; "reference" averages over the classes
            too, as the published code does, which scales the loss by 1 / C.

    Returns:
        A scalar.
    """
    return tf.math.divide_no_nan(*prediction_loss_sum(student, teacher, temperature, weight, reduction))


def regression_loss_sum(student, teacher, weight=None) -> Sum:
    """Numerator and denominator of `regression_loss`."""
    student, teacher = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    error = tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=-1)
    return _weighted(error, weight)


def regression_loss(student, teacher, weight=None) -> tf.Tensor:
    """Mean squared error of scores [B, 1]: the prediction loss of a regression task."""
    return tf.math.divide_no_nan(*regression_loss_sum(student, teacher, weight))


def span_loss_sum(student, teacher, mask=None, weight=None, temperature: float = 1.0) -> Sum:
    """Numerator and denominator of `span_loss`."""
    student, teacher = (_by_position(logits, mask) / temperature for logits in (student, teacher))
    cross_entropy = -tf.reduce_sum(tf.nn.softmax(teacher) * tf.nn.log_softmax(student), axis=-1)  # [B, 2]
    return _weighted(cross_entropy, weight)


def span_loss(student, teacher, mask=None, weight=None, temperature: float = 1.0) -> tf.Tensor:
    """Equation 10 for a head that answers with a span: the classes are the positions, for its start and for its end.

    Args:
        student: [B, S, 2] logits (start, end) z_S.
        teacher: [B, S, 2] logits z_T.
        mask: [B, S]; padding has no probability on either side.
        weight: [B] example weights.
        temperature: t.

    Returns:
        A scalar: the mean of the start's and the end's soft cross-entropy.
    """
    return tf.math.divide_no_nan(*span_loss_sum(student, teacher, mask, weight, temperature))


def span_label_loss(labels, logits) -> tf.Tensor:
    """The loss that a span head is fine-tuned with (Devlin et al. 2019, section 4.2), in Keras' order of arguments.

    Args:
        labels: [B, 2] positions of the answer's first and last token.
        logits: [B, S, 2].

    Returns:
        [B]: the mean of the start's and the end's cross-entropy over all positions.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(labels, tf.int32), _by_position(logits, None)
    )
    return tf.reduce_mean(cross_entropy, axis=-1)


def _by_position(logits, mask) -> tf.Tensor:
    """[B, S, 2] -> float32 [B, 2, S], padding with no probability."""
    logits = tf.transpose(tf.cast(logits, tf.float32), [0, 2, 1])
    return logits if mask is None else tf.where(tf.cast(mask, tf.bool)[:, None, :], logits, _IMPOSSIBLE)


def _counted_positions(states, mask, padding: str) -> tf.Tensor:
    """[B, S] float32: 1 where a position counts."""
    if padding not in ("exclude", "reference"):
        raise ValueError(f'padding={padding!r}: must be "exclude" or "reference"')
    if mask is None or padding == "reference":
        return tf.ones((tf.shape(states)[0], tf.shape(states)[-2]))
    return tf.cast(mask, tf.float32)


def _squared_error(student, teacher, counted, weight) -> Sum:
    """Squared differences summed where `counted` (broadcast over the states) and over the examples by `weight` [B]."""
    if weight is not None:
        counted *= tf.reshape(tf.cast(weight, tf.float32), [-1] + [1] * (counted.shape.rank - 1))
    states_per_count = tf.cast(tf.size(student) / tf.size(counted), tf.float32)
    error = tf.reduce_sum(tf.math.squared_difference(student, teacher) * counted)
    return error, tf.reduce_sum(counted) * states_per_count


def _weighted(values, weight) -> Sum:
    """`values` [B, ...] summed with a weight an example, or one for each of their first dimensions."""
    weights = tf.ones_like(values)
    if weight is not None:
        weight = tf.cast(weight, tf.float32)
        weights *= weight[(..., *[None] * (values.shape.rank - weight.shape.rank))]
    return tf.reduce_sum(values * weights), tf.reduce_sum(weights)
