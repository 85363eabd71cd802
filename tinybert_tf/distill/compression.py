"""Compresses a teacher into a narrower student, without training.

Shapes: T tokens (of all batches, padding left out), D and d the teacher's and the student's hidden sizes.

The student's hidden state represents the teacher's in an orthonormal basis [D, d]: s = h B. From the embeddings upwards,
each weight is first cut down (`_cut` for a head's circuits, the neurons that contribute most for the feed-forward layer),
then corrected by ridge regression on what the student computes at that point, so that each layer also compensates for the
error of the layers before it, skipped layers included. Every regression fits the residual and is regularized towards no
change, so between equal sizes the weights stay the same and the student equals its teacher.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from tinybert_tf.bert import BertModel
from tinybert_tf.bert.layers import LayerStates, SelfAttention, TransformerLayer
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill.tokens import Tokens, by_length

logger = logging.getLogger(__name__)

# Strength of the ridge regressions, in units of the mean variance of their inputs.
_RIDGE = 0.01


class Kept(NamedTuple):
    """The heads and neurons of a teacher's layer that the student's layer keeps, by index."""

    heads: Sequence[int]
    neurons: Sequence[int]


def compress_teacher(
    student: BertModel,
    teacher: BertModel,
    mapped: Sequence[int],
    batches: Iterable[Mapping],
    kept: Sequence[Kept] | None = None,
) -> list[Projection]:
    """Fills `student` from `teacher`; both compute in float32, and the student is larger in no dimension.

    Args:
        student: filled in place.
        teacher: unchanged.
        mapped: the teacher layer, counted from 1, for each student layer.
        batches: of features, int32 [batch, seq].
        kept: for each student layer the heads and neurons that it keeps; by default all heads, and the neurons that add most
            to the layer's output.

    Returns:
        For each hidden state of the student, the embedding output first: the (kernel [d, D], bias [D]) that reconstruct the
        teacher's.

    Raises:
        InputError: no token in `batches`.
    """
    features = by_length(batches)
    tokens, source_tokens = Tokens(student, features), Tokens(teacher, features)
    hidden = [source_tokens.embed()]
    for layer in teacher.transformer_layers:
        hidden.append(source_tokens.outputs(layer, hidden[-1]))
    basis = _basis([hidden[number] for number in (0, *mapped)], student.config.hidden_size)
    _compress_embeddings(student, teacher, basis, tokens, hidden[0])
    states = tokens.embed()
    projections = [_read(states, hidden[0], basis)]
    for layer, number, parts in zip(student.transformer_layers, mapped, kept or [None] * len(mapped), strict=True):
        source = teacher.transformer_layers[number - 1]
        target = source_tokens.states(source, hidden[number - 1])
        heads = range(source.config.num_attention_heads) if parts is None else parts.heads
        read = _read(states, hidden[number - 1], basis)
        _compress_attention(layer.attention, source.attention, heads, basis, states, read)
        contexts = tokens.contexts(layer.attention, states)
        states = _compress_layer(layer, source, basis, states, contexts, target, parts)
        projections.append(_read(states, target.outputs, basis))
    _compress_heads(student, teacher, _read(states, hidden[-1], basis), tokens, states, hidden[-1])
    return [(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in projections]


def _basis(states: Sequence[np.ndarray], size: int) -> np.ndarray:
    """An orthonormal basis [D, d] that keeps most of the hidden states' variance and in which layer normalization remains
    one.

    The subspace is spanned by the principal components. Within it the basis is turned as close as possible to d of the D
    coordinates, because a normalization scales each coordinate by itself; and (1, ..., 1) stays (1, ..., 1), because it
    subtracts their mean. For d = D this is the identity.
    """
    width = states[0].shape[-1]
    ones = np.full((width, 1), width**-0.5)
    covariance = sum(np.cov(state, rowvar=False, dtype=np.float64) for state in states)
    covariance -= ones @ (ones.T @ covariance)
    covariance -= (covariance @ ones) @ ones.T
    _, vectors = np.linalg.eigh(covariance - ones @ ones.T * np.trace(covariance))
    components = vectors[:, width - size + 1 :]  # [D, d - 1], orthogonal to the ones
    leverage = np.sum(components**2, axis=1)
    chosen = np.sort(np.argsort(-leverage, kind="stable")[:size])
    towards = components[chosen].T
    left, _, right = np.linalg.svd(towards - towards.mean(axis=1, keepdims=True), full_matrices=False)
    return (ones @ np.full((1, size), size**-0.5) + components @ (left @ right)).astype(np.float32)


def _compress_embeddings(student: BertModel, teacher: BertModel, basis, tokens: Tokens, target: np.ndarray) -> None:
    transfer_embeddings(student, teacher, basis)
    if student.embeddings.project is None:
        _correct_norm(student.embeddings.layer_norm, tokens.embed(), target @ basis)


def transfer_embeddings(student: BertModel, teacher: BertModel, basis: np.ndarray | None = None) -> None:
    """Gives the student its teacher's embeddings, in a basis [D, d] where one is given, and its bias by relative position.

    A table that the teacher's family does not have becomes zero. The dense layer behind an ELECTRA's embeddings takes the
    basis in; a student without one has tables of the layer's outputs, the normalization left out.
    """
    small, large = student.embeddings, teacher.embeddings
    into = basis
    if large.project is not None:
        kernel, bias = large.project.get_weights()
        if small.project is None:
            into = kernel if basis is None else kernel @ basis
        else:
            into = None
            small.project.set_weights([kernel, bias] if basis is None else [kernel @ basis, bias @ basis])
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        table, source = getattr(small, name), getattr(large, name)
        if table is None:
            continue
        rows = table.embeddings.shape[0]
        width = large.word_embeddings.embeddings.shape[1]
        values = np.zeros((rows, width)) if source is None else np.asarray(source.embeddings[:rows])
        table.embeddings.assign(values if into is None else values @ into)
    if large.project is None or small.project is not None:
        gamma, beta = large.layer_norm.get_weights()
        small.layer_norm.set_weights([gamma, beta] if into is None else [gamma @ into**2, beta @ into])
    if student.relative_attention_bias is not None:
        table, source = student.relative_attention_bias.embeddings, teacher.relative_attention_bias
        table.assign(np.zeros(table.shape) if source is None else source.embeddings)


def _compress_layer(
    layer: TransformerLayer,
    source: TransformerLayer,
    basis: np.ndarray,
    states: np.ndarray,
    contexts: np.ndarray,
    target: LayerStates,
    kept: Kept | None,
) -> np.ndarray:
    """Fills one layer whose attention is filled already.

    Args:
        layer: of the student.
        source: the mapped layer of the teacher.
        states: [T, d], what the layer reads.
        contexts: [T, d], what its attention makes of them before the output projection.
        target: what the teacher's layer computes.
        kept: the teacher's neurons that the layer keeps; None for those that add most to the output.

    Returns:
        The layer's output [T, d].
    """
    # === Attention ===
    output = layer.attention.output_dense
    _correct(output, contexts, target.attended @ basis - states, _weights(target.attended))
    _start_norm(layer.attention_layer_norm, source.attention_layer_norm, basis)
    attended = states + np.asarray(output(contexts))
    middle = _correct_norm_on(layer.attention_layer_norm, attended, target.middle @ basis)

    # === Feed-forward ===
    kernel, bias = source.intermediate.get_weights()
    contraction, contraction_bias = source.output_dense.get_weights()
    contraction = contraction @ basis
    importance = target.expanded.std(axis=0) * np.linalg.norm(contraction, axis=1)
    neurons = largest(importance, layer.config.intermediate_size) if kept is None else kept.neurons
    read, shift = _read(middle, target.middle, basis)
    layer.intermediate.set_weights([read @ kernel[:, neurons], (shift @ kernel + bias)[neurons]])
    layer.output_dense.set_weights([contraction[neurons], contraction_bias @ basis])
    expanded = np.asarray(layer.activation(layer.intermediate(middle)))
    _correct(layer.output_dense, expanded, target.contracted @ basis - middle, _weights(target.contracted))
    _start_norm(layer.output_layer_norm, source.output_layer_norm, basis)
    contracted = middle + np.asarray(layer.output_dense(expanded))
    return _correct_norm_on(layer.output_layer_norm, contracted, target.outputs @ basis)


def _compress_attention(
    student: SelfAttention, teacher: SelfAttention, kept: Sequence[int], basis, states, read: Projection
) -> None:
    """Cuts the two circuits, query-key and value-output, of some heads to the student's head size.

    Args:
        student: filled in place.
        teacher: of the mapped layer.
        kept: the teacher's heads that the student has.
        basis: [D, d].
        states: [T, d], what the student's layer reads.
        read: (kernel [d, D], bias [D]) that give the teacher's state back.
    """
    heads, size = teacher.config.num_attention_heads, student.config.attention_head_size
    wide = teacher.config.attention_head_size
    kernel, shift = read

    def reading(dense):  # the teacher's projection of the student's state, by head: [d, H, wide], [H, wide]
        weight, bias = dense.get_weights()
        return (kernel @ weight).reshape(-1, heads, wide), (shift @ weight + bias).reshape(heads, wide)

    def of_head(weights, head: int):  # [T, wide]
        return states @ weights[0][:, head] + weights[1][head]

    query, key, value = (reading(dense) for dense in (teacher.query, teacher.key, teacher.value))
    output, output_bias = teacher.output_dense.get_weights()
    output = (output @ basis).reshape(heads, wide, -1)
    narrow = {"query": [], "key": [], "value": []}
    outputs = []
    for head in kept:
        values = of_head(value, head)
        to_query, to_key = _cut(of_head(query, head), of_head(key, head), size)
        to_value, to_output = _cut(values - values.mean(axis=0), output[head].T, size)
        # The student divides its logits by the root of its own head size.
        to_query = to_query * (size / wide) ** 0.5
        for name, weights, to in (("query", query, to_query), ("key", key, to_key), ("value", value, to_value)):
            narrow[name].append((weights[0][:, head] @ to, weights[1][head] @ to))
        outputs.append(to_output.T @ output[head])
    for name, parts in narrow.items():
        getattr(student, name).set_weights([np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)])
    student.output_dense.set_weights([np.concatenate(outputs), output_bias @ basis])


def _compress_heads(student: BertModel, teacher: BertModel, read: Projection, tokens: Tokens, states, target) -> None:
    """The pooler, and a head of the same kind."""
    kernel, shift = read
    weight, bias = teacher.pooler.dense.get_weights()
    first, target_first = states[tokens.first], target[tokens.first]
    pooled = np.asarray(teacher.pooler.dense(target_first))
    same_head = student.head == teacher.head
    by_pooled = same_head and student.head in ("classification", "regression")
    importance = pooled.std(axis=0)
    if by_pooled:
        importance = importance * np.linalg.norm(teacher.head_layer.get_weights()[0], axis=1)
    kept = largest(importance, student.config.hidden_size)
    student.pooler.dense.set_weights([kernel @ weight[:, kept], (shift @ weight + bias)[kept]])
    if by_pooled:
        head, head_bias = teacher.head_layer.get_weights()
        student.head_layer.set_weights([head[kept], head_bias])
        read_by = [np.asarray(student.pooler.dense(first)), pooled]
        if teacher.config.classifier_activation:
            read_by = [np.maximum(features, 0) for features in read_by]
        _correct(student.head_layer, read_by[0], np.asarray(teacher.head_layer(read_by[1])))
    elif same_head and student.head in ("token_classification", "span"):
        head, head_bias = teacher.head_layer.get_weights()
        student.head_layer.set_weights([kernel @ head, shift @ head + head_bias])
    elif same_head and student.head == "masked_lm":
        # Its activation works coordinate by coordinate, which no basis of another width keeps.
        if student.config.hidden_size == teacher.config.hidden_size:
            student.head_layer.set_weights(teacher.head_layer.get_weights())
        else:
            logger.warning("teacher_projection cannot make a masked-LM head narrower: the student's is left as it is")


def _cut(left: np.ndarray, right: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps A, B [wide, size] with which (left A) (right B)^T is the best approximation of left right^T of that rank.

    By a singular value decomposition in coordinates in which `left` and `right`, [*, wide], are white.
    """
    wide = left.shape[-1]
    if size == wide:
        return np.eye(wide), np.eye(wide)
    (left_root, left_inverse), (right_root, right_inverse) = _roots(left), _roots(right)
    u, scale, vt = np.linalg.svd(left_root @ right_root)
    root = np.sqrt(scale[:size])
    return left_inverse @ u[:, :size] * root, right_inverse @ vt[:size].T * root


def _roots(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The square root of the Gram matrix of x and its pseudo-inverse."""
    x = x.astype(np.float64)
    values, vectors = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0)
    inverse = np.where(values > values[-1] * 1e-10, 1 / np.sqrt(np.maximum(values, 1e-300)), 0)
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors * inverse) @ vectors.T


def _read(states: np.ndarray, target: np.ndarray, basis: np.ndarray) -> Projection:
    """(kernel [d, D], bias [D]) that predict the teacher's `target` from the student's `states`."""
    kernel, bias = _regress(states, target - states @ basis.T)
    return basis.T + kernel, bias


def _correct(dense: keras.layers.Dense, inputs: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None):
    kernel, bias = dense.get_weights()
    change, shift = _regress(inputs, target - (inputs @ kernel + bias), weights)
    dense.set_weights([kernel + change, bias + shift])


def _regress(inputs: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> Projection:
    """Ridge regression with an unpenalized bias; each row counts by its weight."""
    weights = np.ones(len(inputs), np.float32) if weights is None else weights
    weights = (weights / weights.sum())[:, None]
    input_mean, target_mean = (weights * inputs).sum(axis=0), (weights * target).sum(axis=0)
    inputs, target = (inputs - input_mean) * np.sqrt(weights), (target - target_mean) * np.sqrt(weights)
    gram = (inputs.T @ inputs).astype(np.float64)
    gram += np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-30)
    kernel = np.linalg.solve(gram, (inputs.T @ target).astype(np.float64)).astype(np.float32)
    return kernel, target_mean - input_mean @ kernel


def _weights(sums: np.ndarray) -> np.ndarray:
    """How much an error in each row counts after the normalization, which divides by the row's deviation."""
    return 1 / np.maximum(sums.var(axis=-1), 1e-12)


def _start_norm(student, teacher, basis: np.ndarray) -> None:
    gamma, beta = teacher.get_weights()
    student.set_weights([gamma @ basis**2, beta @ basis])


def _correct_norm_on(norm, sums: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Corrects a normalization of `sums`; returns its new output."""
    _correct_norm(norm, np.asarray(norm(sums)), target)
    return np.asarray(norm(sums))


def _correct_norm(norm, outputs: np.ndarray, target: np.ndarray) -> None:
    """Refits gamma and beta of a normalization that gives `outputs` to give `target`, each coordinate by itself."""
    gamma, beta = norm.get_weights()
    mean, target_mean = outputs.mean(axis=0), target.mean(axis=0)
    centered = outputs - mean
    slope = (centered * (target - target_mean)).mean(axis=0) / np.maximum((centered**2).mean(axis=0), 1e-12)
    norm.set_weights([gamma * slope, (beta - mean) * slope + target_mean])


def largest(importance: np.ndarray, count: int) -> np.ndarray:
    """The indices of the `count` largest values, ascending."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])
