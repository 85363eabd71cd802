"""TinyBERT's losses as pure functions of tensors (Jiao et al. 2020, section 3.1).

Shapes: B batch, S sequence, D hidden size, H heads, C classes.

Every loss is a mean over what counts: positions that hold a token (`mask` [B, S], 1 = token) of examples with a weight
(`weight` [B], 0 for the rows that fill a batch). It is computed in two parts, which the tables of `objectives` use one by
one: a function `*_values` measures each example or position, and `mean` averages its values. What a mean is divided by
depends on mask and weights alone, so that the parts of a batch (replicas, micro-batches) add up to the loss of the whole.

`padding="reference"` is what the published code computes: masked keys are set to 0 in the attention logits of both sides,
and padded positions count like any other, so that the loss shrinks as padding grows.
"""

from typing import NamedTuple

import tensorflow as tf

from tinybert_tf.errors import InputError

# The published code treats attention logits at or below this as masked.
_REFERENCE_MASKED = -1e2
# The logit of a position that cannot be the answer: zero probability, but finite in a log softmax.
_IMPOSSIBLE = -1e9

PADDINGS = ("exclude", "reference")
REDUCTIONS = ("batch", "reference")


class Mean(NamedTuple):
    """A mean as numerator and denominator, float32 scalars; those of the parts of a batch add up to the whole's."""

    total: tf.Tensor
    count: tf.Tensor

    def result(self) -> tf.Tensor:
        """The mean, or 0 where nothing counts."""
        return tf.math.divide_no_nan(self.total, self.count)


def mean(values: tf.Tensor, weights: tf.Tensor) -> Mean:
    """The weighted mean of `values`.

    >>> values = tf.constant([[1.0, 3.0], [5.0, 7.0]])
    >>> float(mean(values, tf.constant([1.0, 0.0])).result())
    2.0

    Args:
        values: float [B, ...].
        weights: float [B, ...], of the first axes of `values`; over the others the plain mean is taken.
    """
    values, weights = tf.cast(values, tf.float32), tf.cast(weights, tf.float32)
    if values.shape.rank is not None and values.shape.rank < weights.shape.rank:
        raise InputError(
            f"a loss returned values of shape {values.shape} for weights of shape {weights.shape}; return one value for "
            "each of the weights, such as [batch] for a loss over rows"
        )
    values = tf.reduce_mean(values, axis=list(range(weights.shape.rank, values.shape.rank)))
    return Mean(tf.reduce_sum(values * weights), tf.reduce_sum(weights))


def row_weights(weight, rows) -> tf.Tensor:
    """float [B]: the weights of examples; of weights of positions [B, S] the largest of each row.

    Args:
        weight: [B], [B, S] or None.
        rows: B, used without a weight.
    """
    if weight is None:
        return tf.ones([rows])
    weight = tf.cast(weight, tf.float32)
    if weight.shape.rank == 1:
        return weight
    # Keras may trace one graph for both kinds of weights, in which their rank is not known.
    return tf.reduce_max(tf.reshape(weight, [tf.shape(weight)[0], -1]), axis=-1)


def token_weights(mask, weight=None) -> tf.Tensor:
    """float [B, S]: at every token the weight of its row, at padding 0."""
    mask = tf.cast(mask, tf.float32)
    return mask * row_weights(weight, tf.shape(mask)[0])[:, None]


def pair_weights(mask, weight=None) -> tf.Tensor:
    """float [B, S, S]: for every pair of tokens the weight of its row, for others 0."""
    mask = tf.cast(mask, tf.float32)
    return token_weights(mask, weight)[:, :, None] * mask[:, None, :]


# === Equation 7: attention ===


def attention_values(student, teacher, padding: str = "exclude") -> tf.Tensor:
    """[B, S, S]: squared differences of attention logits [B, H, S, S], the mean over the heads."""
    student, teacher = _in_float32(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise InputError(
            f"the student has {student.shape[1]} attention heads and the teacher {teacher.shape[1]}: their attention logits "
            "cannot be matched head by head"
        )
    if padding == "reference":
        student, teacher = (tf.where(x <= _REFERENCE_MASKED, 0.0, x) for x in (student, teacher))
    return tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=1)


def attention_loss(student, teacher, mask=None, weight=None, padding: str = "exclude") -> tf.Tensor:
    """Mean squared error of attention logits, equation 7.

    >>> float(attention_loss(tf.ones([2, 12, 4, 4]), tf.zeros([2, 12, 4, 4])))
    1.0

    Args:
        student: float [B, H, S, S], logits before the softmax, mask added.
        teacher: float [B, H, S, S], those of the mapped teacher layer.
        mask: int [B, S]; a pair of positions counts if both hold a token.
        weight: float [B], of the examples.
        padding: "exclude" or "reference".

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        InputError: different numbers of heads, or an unknown padding.
    """
    counts_all = _check_choice("padding", padding, PADDINGS) == "reference" or mask is None
    values = attention_values(student, teacher, padding)
    weights = row_weights(weight, tf.shape(values)[0]) if counts_all else pair_weights(mask, weight)
    return mean(values, weights).result()


# === Equations 8 and 9: hidden states and embeddings ===


def hidden_values(student, teacher) -> tf.Tensor:
    """[B, S]: squared differences of states [B, S, D], the mean over D."""
    return tf.reduce_mean(tf.math.squared_difference(*_of_one_shape(student, teacher)), axis=-1)


def hidden_loss(student, teacher, mask=None, weight=None, padding: str = "exclude") -> tf.Tensor:
    """Mean squared error of hidden states, equation 8.

    >>> float(hidden_loss(tf.ones([2, 4, 8]), tf.zeros([2, 4, 8]), mask=[[1, 1, 0, 0], [1, 0, 0, 0]]))
    1.0

    Args:
        student: float [B, S, D], already in the teacher's space: H_S W_h.
        teacher: float [B, S, D], H_T of the mapped layer.
        mask: int [B, S].
        weight: float [B], of the examples.
        padding: "exclude" or "reference".

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        InputError: an unknown padding.
    """
    counts_all = _check_choice("padding", padding, PADDINGS) == "reference" or mask is None
    values = hidden_values(student, teacher)
    weights = row_weights(weight, tf.shape(values)[0]) if counts_all else token_weights(mask, weight)
    return mean(values, weights).result()


# Equation 9 is equation 8 on the embedding output, after its normalization.
embedding_loss = hidden_loss


# === Equation 10: predictions ===


def prediction_values(student, teacher, temperature: float = 1.0, reduction: str = "batch") -> tf.Tensor:
    """[B, ...]: the soft cross-entropy of logits [B, ..., C]."""
    _check_temperature(temperature)
    _check_choice("reduction", reduction, REDUCTIONS)
    student, teacher = (logits / temperature for logits in _of_one_shape(student, teacher))
    cross_entropy = -tf.reduce_sum(tf.nn.softmax(teacher) * tf.nn.log_softmax(student), axis=-1)
    if reduction == "reference":
        cross_entropy /= tf.cast(tf.shape(student)[-1], tf.float32)
    return cross_entropy


def prediction_loss(student, teacher, temperature: float = 1.0, weight=None, reduction: str = "batch") -> tf.Tensor:
    """Soft cross-entropy of teacher and student logits, equation 10.

    >>> round(float(prediction_loss(tf.zeros([3, 2]), tf.zeros([3, 2]))), 4)
    0.6931

    Args:
        student: float [B, C], logits z_S, or of every position [B, S, C].
        teacher: float [B, C] or [B, S, C], logits z_T.
        temperature: t, above 0; both sides are divided by it. No factor t^2, as in the paper.
        weight: float [B], of the examples, or [B, S], of the positions.
        reduction: "batch" sums over the classes and averages over the batch; "reference" averages over the classes
            too, as the published code does, which scales the loss by 1 / C.

    Returns:
        A scalar.

    Raises:
        InputError: a temperature of 0 or below, or an unknown reduction.
    """
    return _mean_of_examples(prediction_values(student, teacher, temperature, reduction), weight)


def regression_values(student, teacher) -> tf.Tensor:
    """[B]: squared differences of scores [B, 1] or [B]."""
    return tf.math.squared_difference(*(tf.reshape(scores, [-1]) for scores in _in_float32(student, teacher)))


def regression_loss(student, teacher, weight=None) -> tf.Tensor:
    """Mean squared error of the student's and the teacher's scores; the published code takes gold labels for the teacher's.

    >>> float(regression_loss(tf.zeros([2, 1]), tf.constant([[1.0], [3.0]])))
    5.0

    Args:
        student: float [B, 1] or [B].
        teacher: float [B, 1] or [B].
        weight: float [B], of the examples.

    Returns:
        A scalar.
    """
    return _mean_of_examples(regression_values(student, teacher), weight)


def span_values(student, teacher, mask=None, temperature: float = 1.0) -> tf.Tensor:
    """[B, 2]: the soft cross-entropy of the start's and of the end's distribution over the positions."""
    _check_temperature(temperature)
    student, teacher = (_by_position(logits, mask) / temperature for logits in (student, teacher))
    return -tf.reduce_sum(tf.nn.softmax(teacher) * tf.nn.log_softmax(student), axis=-1)


def span_loss(student, teacher, mask=None, weight=None, temperature: float = 1.0) -> tf.Tensor:
    """Equation 10 for a head that answers with a span: the classes are the positions, for its start and for its end.

    >>> round(float(span_loss(tf.zeros([1, 4, 2]), tf.zeros([1, 4, 2]), mask=[[1, 1, 0, 0]])), 4)
    0.6931

    Args:
        student: float [B, S, 2], logits (start, end) z_S.
        teacher: float [B, S, 2], logits z_T.
        mask: int [B, S]; padding has no probability on either side.
        weight: float [B], of the examples.
        temperature: t, above 0.

    Returns:
        A scalar: the mean of the start's and the end's soft cross-entropy.

    Raises:
        InputError: a temperature of 0 or below.
    """
    return _mean_of_examples(span_values(student, teacher, mask, temperature), weight)


# === Labels ===


def span_label_loss(labels, logits) -> tf.Tensor:
    """The loss that a span head is fine-tuned with (Devlin et al. 2019, section 4.2), in Keras' order of arguments.

    Args:
        labels: int [B, 2], positions of the answer's first and last token.
        logits: float [B, S, 2].

    Returns:
        float [B]: the mean of the start's and the end's cross-entropy over all positions.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(labels, tf.int32), _by_position(logits, None)
    )
    return tf.reduce_mean(cross_entropy, axis=-1)


def label_values(labels, logits, head: str = "classification") -> tf.Tensor:
    """The loss that each head is fine-tuned with: [B], for token classification [B, S].

    Args:
        labels: int [B], for token classification [B, S], for spans [B, 2]; scores float [B] for a regression.
        logits: as the head gives them.
        head: "classification", "token_classification", "regression" or "span".
    """
    if head == "span":
        return span_label_loss(labels, logits)
    labels, logits = tf.convert_to_tensor(labels), tf.cast(logits, tf.float32)
    if head == "regression":
        return tf.math.squared_difference(tf.reshape(logits, [-1]), tf.reshape(tf.cast(labels, tf.float32), [-1]))
    if labels.shape.rank == logits.shape.rank and labels.shape[-1] not in (None, 1):
        raise InputError(
            f"labels of shape {labels.shape} are not class ids, one for each example; take argmax of one-hot ones"
        )
    labels = tf.reshape(labels, tf.shape(logits)[:-1])  # [B, 1] is accepted, as by Keras' own loss
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), logits)


def _mean_of_examples(values, weight) -> tf.Tensor:
    weight = tf.ones(tf.shape(values)[:1]) if weight is None else tf.cast(weight, tf.float32)
    return mean(values, weight).result()


def _in_float32(*tensors) -> list[tf.Tensor]:
    return [tf.cast(tensor, tf.float32) for tensor in tensors]


def _of_one_shape(student, teacher) -> list[tf.Tensor]:
    """Both in float32; InputError where one would be spread over the other."""
    student, teacher = _in_float32(student, teacher)
    if not student.shape.is_compatible_with(teacher.shape):
        raise InputError(
            f"the student's values have the shape {student.shape} and the teacher's {teacher.shape}: they must be equal"
        )
    return [student, teacher]


def _by_position(logits, mask) -> tf.Tensor:
    """[B, S, 2] -> float32 [B, 2, S], padding with no probability."""
    logits = tf.transpose(tf.cast(logits, tf.float32), [0, 2, 1])
    return logits if mask is None else tf.where(tf.cast(mask, tf.bool)[:, None, :], logits, _IMPOSSIBLE)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise InputError("must be above 0", "temperature", temperature)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InputError(f"must be {' or '.join(choices)}", name, repr(value))
    return value
