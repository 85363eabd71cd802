"""BERT's layers. Unlike Keras' own attention, these layers also return the attention logits, which TinyBERT distills.

Shapes: B batch, S sequence, D hidden size, H heads.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from tinybert_tf.bert.config import BertConfig
from tinybert_tf.bert.freezing import frozen_layers, rebuild
from tinybert_tf.errors import InputError

# Added to the logits of masked keys. Large enough that exp() underflows to zero in float32, small enough for bfloat16.
MASK_VALUE = -10000.0

register = keras.saving.register_keras_serializable(package="tinybert_tf")


def activation(name: str):
    """An activation by its Hugging Face name."""
    if name in ("relu", "tanh"):
        return getattr(ops, name)
    approximate = name != "gelu"
    return lambda x: ops.gelu(x, approximate=approximate)


def initializer(config: BertConfig) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


def dense(config: BertConfig, units: int, **kwargs) -> layers.Dense:
    return layers.Dense(units, kernel_initializer=initializer(config), **kwargs)


def layer_norm(config: BertConfig, name: str = "layer_norm", **kwargs) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=config.layer_norm_eps, name=name, **kwargs)


class BertLayer(layers.Layer):
    """A layer that is built from a `BertConfig` and serialized with it, so that functional models cut out of a `BertModel`
    can be saved. Not with a masked-LM head, which shares the word table: save the `BertModel` itself.
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config

    def get_config(self):
        return super().get_config() | {"config": self.config.to_dict(), "frozen": frozen_layers(self)}

    @classmethod
    def from_config(cls, config):
        return rebuild(cls, config | {"config": BertConfig.from_dict(config["config"])})


@register
class AttentionMask(layers.Layer):
    """Turns `input_mask` [B, S] (1 = token, 0 = padding) into the term that is added to attention logits [B, 1, 1, S].

    A layer and not a line in the graph: a KerasTensor times a Python scalar would be marked sparse.
    """

    def call(self, input_mask):
        masked = 1.0 - ops.cast(input_mask, self.compute_dtype)
        return ops.expand_dims(masked * MASK_VALUE, (1, 2))  # indexing with None twice is no op of TFLite

    def get_config(self):  # Keras cannot infer it when the dtype is a policy object
        return super().get_config()

    def compute_output_spec(self, input_mask):
        batch, seq = input_mask.shape
        return keras.KerasTensor((batch, 1, 1, seq), dtype=self.compute_dtype)


def relative_position_buckets(relative: np.ndarray, buckets: int = 32, max_distance: int = 128) -> np.ndarray:
    """The bucket of each distance from a query to a key, int32 of the same shape; negative is to the left.

    Half of the buckets are for keys to the right. In each half, the first half are for one distance each, the others for
    ranges that grow as powers up to `max_distance` (T5: Raffel et al. 2020, section 2.1, two-sided).

    >>> relative_position_buckets(np.array([-9, -1, 0, 1, 7, 8, 16, 127, 300])).tolist()
    [8, 1, 0, 17, 23, 24, 26, 31, 31]
    """
    half, exact = buckets // 2, buckets // 4
    distance = np.abs(relative)
    steps = half - exact
    bounds = exact * (max_distance / exact) ** (np.arange(1, steps) / steps)
    far = exact + np.searchsorted(bounds, distance, side="right")
    return (np.where(distance < exact, distance, far) + half * (relative > 0)).astype(np.int32)


@register
class RelativeAttentionBias(BertLayer):
    """Adds MPNet's bias by relative position to the additive mask: [B, 1, 1, S] -> [B, H, S, S].

    All layers add the result to their logits, so the table [buckets, H] is shared. It is looked up once.
    """

    def build(self, mask_shape):
        shape = (self.config.relative_attention_num_buckets, self.config.num_attention_heads)
        self.embeddings = self.add_weight(shape=shape, initializer=initializer(self.config), name="embeddings")
        self._farthest = self.config.max_position_embeddings - 1
        self._buckets = relative_position_buckets(np.arange(-self._farthest, self._farthest + 1), shape[0])

    def call(self, mask):
        position = ops.arange(ops.shape(mask)[-1])
        relative = position[None, :] - position[:, None]  # [S, S]
        buckets = ops.take(self._buckets, relative + self._farthest)
        bias = ops.take(ops.cast(self.embeddings, self.compute_dtype), buckets, axis=0)  # [S, S, H]
        return mask + ops.transpose(bias, (2, 0, 1))[None]

    def compute_output_spec(self, mask):
        batch, _, _, seq = mask.shape
        return keras.KerasTensor((batch, self.config.num_attention_heads, seq, seq), dtype=self.compute_dtype)


@register
class Embeddings(BertLayer):
    """Sum of word, position and token type embeddings, then normalization and dropout: [B, S] -> [B, S, D].

    Without token types (`type_vocab_size` 0) the type ids are not read. Tables of another width E (`embedding_size`) are
    followed by a dense layer [E] -> [D].
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        table = {"embeddings_initializer": initializer(config), "dtype": self.dtype_policy}
        self.word_embeddings = layers.ReversibleEmbedding(
            config.vocab_size,
            config.embedding_width,
            name="word_embeddings",
            reverse_dtype=self.compute_dtype,
            **table,
        )
        self.position_embeddings = layers.Embedding(
            config.max_position_embeddings, config.embedding_width, name="position_embeddings", **table
        )
        self.token_type_embeddings = (
            layers.Embedding(config.type_vocab_size, config.embedding_width, name="token_type_embeddings", **table)
            if config.type_vocab_size
            else None
        )
        self.layer_norm = layer_norm(config, dtype=self.dtype_policy)
        self.dropout = layers.Dropout(config.hidden_dropout_prob, name="dropout", dtype=self.dtype_policy)
        self.project = None
        if config.embedding_width != config.hidden_size:
            self.project = dense(config, config.hidden_size, name="project", dtype=self.dtype_policy)

    @property
    def tables(self) -> list[layers.Embedding]:
        """The word, position and, if there is one, token type table."""
        tables = (self.word_embeddings, self.position_embeddings, self.token_type_embeddings)
        return [table for table in tables if table is not None]

    def build(self, word_ids_shape, type_ids_shape):
        for table in self.tables:
            table.build(word_ids_shape)
        self.layer_norm.build((*word_ids_shape, self.config.embedding_width))
        if self.project is not None:
            self.project.build((*word_ids_shape, self.config.embedding_width))

    def call(self, word_ids, type_ids, training=False):
        self._check_length(word_ids)
        positions = ops.convert_to_tensor(self.position_embeddings.embeddings)[: ops.shape(word_ids)[1]]
        summed = self.word_embeddings(word_ids)
        if self.token_type_embeddings is not None:
            summed = summed + self.token_type_embeddings(type_ids)
        summed = summed + ops.cast(positions, self.compute_dtype)
        embedded = self.dropout(self.layer_norm(summed), training=training)
        return embedded if self.project is None else self.project(embedded)

    def _check_length(self, word_ids):
        length, positions = word_ids.shape[1], self.config.max_position_embeddings
        if length is not None and length > positions:
            raise InputError(f"the model has {positions} positions; take a smaller one", "seq_len", length)

    def compute_output_spec(self, word_ids, type_ids, training=False):
        return keras.KerasTensor((*word_ids.shape, self.config.hidden_size), dtype=self.compute_dtype)


class LayerStates(NamedTuple):
    """What a `TransformerLayer` computes, R query positions of S: float [B, R, D] where no other shape is given."""

    attention_logits: Any  # [B, H, R, S]: scaled, mask added, before the softmax
    context: Any  # of all heads, before the output projection
    attended: Any  # the sum that the first normalization is applied to
    middle: Any
    expanded: Any  # [B, R, intermediate]
    contracted: Any  # the sum that the second normalization is applied to
    outputs: Any


@register
class SelfAttention(BertLayer):
    """Multi-head self-attention, which also returns its logits.

    Logits are Q K^T / sqrt(D / H) with the mask added, before the softmax (the paper's A_i, equation 7).
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        self.query = dense(config, config.hidden_size, name="query", dtype=self.dtype_policy)
        self.key = dense(config, config.hidden_size, name="key", dtype=self.dtype_policy)
        self.value = dense(config, config.hidden_size, name="value", dtype=self.dtype_policy)
        self.output_dense = dense(config, config.hidden_size, name="output", dtype=self.dtype_policy)
        self.dropout = layers.Dropout(config.attention_probs_dropout_prob, name="dropout", dtype=self.dtype_policy)

    def build(self, hidden_shape, attention_mask_shape):
        for projection in (self.query, self.key, self.value, self.output_dense):
            projection.build(hidden_shape)

    def attend(self, rows, hidden, attention_mask, training=False):
        """(context, logits): attention of the positions `rows` [B, R, D] to all positions `hidden` [B, S, D].

        Both may also be one matrix for the whole batch, [B * R, D] and [B * S, D].

        Returns:
            float of the shape of `rows`, before the output projection, and [B, H, R, S].
        """
        batch, heads, size = (
            ops.shape(attention_mask)[0],
            self.config.num_attention_heads,
            self.config.attention_head_size,
        )

        def split_heads(x):  # [B, S, D] -> [B, H, S, D / H]
            return ops.transpose(ops.reshape(x, (batch, -1, heads, size)), (0, 2, 1, 3))

        # Scaling the query costs S x D products instead of H x S x S.
        query = split_heads(self.query(rows) * size**-0.5)
        key, value = split_heads(self.key(hidden)), split_heads(self.value(hidden))
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + attention_mask
        probabilities = self.dropout(ops.softmax(logits), training=training)
        context = ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))
        return ops.reshape(context, ops.shape(rows)), logits

    def call(self, hidden, attention_mask, training=False):
        context, logits = self.attend(hidden, hidden, attention_mask, training)
        return self.output_dense(context), logits

    def compute_output_spec(self, hidden, attention_mask, training=False):
        batch, seq, _ = hidden.shape
        logits = keras.KerasTensor((batch, self.config.num_attention_heads, seq, seq), dtype=self.compute_dtype)
        return keras.KerasTensor(hidden.shape, dtype=self.compute_dtype), logits


@register
class TransformerLayer(BertLayer):
    """One BERT layer: [B, S, D] -> hidden [B, S, D], attention logits [B, H, S, S]. Normalizes after each residual sum."""

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        policy = {"dtype": self.dtype_policy}
        self.attention = SelfAttention(config, name="attention", **policy)
        self.attention_layer_norm = layer_norm(config, "attention_layer_norm", **policy)
        self.intermediate = dense(config, config.intermediate_size, name="intermediate", **policy)
        self.output_dense = dense(config, config.hidden_size, name="output", **policy)
        self.output_layer_norm = layer_norm(config, "output_layer_norm", **policy)
        self.activation = activation(config.hidden_act)
        self.dropout = layers.Dropout(config.hidden_dropout_prob, name="dropout", **policy)

    def build(self, hidden_shape, attention_mask_shape):
        self.attention.build(hidden_shape, attention_mask_shape)
        self.attention_layer_norm.build(hidden_shape)
        self.intermediate.build(hidden_shape)
        self.output_dense.build((*hidden_shape[:-1], self.config.intermediate_size))
        self.output_layer_norm.build(hidden_shape)

    def intermediates(self, hidden, attention_mask, rows=None, training=False) -> LayerStates:
        """The layer's computation with all intermediate tensors, by name.

        Args:
            hidden: float [B, S, D], or all positions of the batch as one matrix [B * S, D]: TensorFlow fuses a product with its
                bias and its GELU in two dimensions, not in three.
            attention_mask: what is added to the attention logits [B, 1, 1, S].
            rows: the positions of `hidden` that are computed, [B, R, D] or [B * R, D]; by default all of them.
            training: whether dropout is on.
        """
        rows = hidden if rows is None else rows
        context, logits = self.attention.attend(rows, hidden, attention_mask, training)
        attended = rows + self.dropout(self.attention.output_dense(context), training=training)
        middle = self.attention_layer_norm(attended)
        expanded = self._expand(middle)
        contracted = middle + self.dropout(self.output_dense(expanded), training=training)
        outputs = self.output_layer_norm(contracted)
        return LayerStates(logits, context, attended, middle, expanded, contracted, outputs)

    def call(self, hidden, attention_mask, training=False):
        states = self.intermediates(hidden, attention_mask, training=training)
        return states.outputs, states.attention_logits

    def _expand(self, hidden):
        """[B, S, D] or [B * S, D] -> [..., intermediate], after the activation."""
        if self.compute_dtype == "float32" or len(hidden.shape) == 2:
            return self.activation(self.intermediate(hidden))
        # On a CPU a separate bfloat16 GELU takes as long as the matrix product. TensorFlow fuses product, bias and GELU
        # into one kernel, but only in two dimensions.
        batch, seq, size = ops.shape(hidden)
        expanded = self.activation(self.intermediate(ops.reshape(hidden, (-1, size))))
        return ops.reshape(expanded, (batch, seq, self.config.intermediate_size))

    def compute_output_spec(self, hidden, attention_mask, training=False):
        return self.attention.compute_output_spec(hidden, attention_mask)


@register
class Pooler(BertLayer):
    """A dense layer over the first token, with tanh or the activation of the family: [B, S, D] -> [B, D]."""

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = dense(
            config,
            config.hidden_size,
            activation=activation(config.pooler_activation),
            name="dense",
            dtype=self.dtype_policy,
        )

    def build(self, hidden_shape):
        self.dense.build((hidden_shape[0], hidden_shape[-1]))

    def call(self, hidden):
        return self.dense(hidden[:, 0, :])


@register
class MaskedLMHead(BertLayer):
    """Scores every vocabulary word at each position given: [..., D] -> float logits [..., vocabulary].

    The decoder is tied to the word embeddings. Feed it the hidden states of the masked positions alone where the others
    are not needed: the vocabulary product is by far the widest of the network.
    """

    def __init__(self, config: BertConfig, word_embeddings: layers.ReversibleEmbedding, **kwargs):
        super().__init__(config, **kwargs)
        self.transform = dense(config, config.embedding_width, name="transform", dtype=self.dtype_policy)
        self.layer_norm = layer_norm(config, dtype=self.dtype_policy)
        self.activation = activation(config.hidden_act)
        self.word_embeddings = word_embeddings

    def build(self, hidden_shape):
        self.transform.build(hidden_shape)
        self.layer_norm.build((*hidden_shape[:-1], self.config.embedding_width))
        self.bias = self.add_weight(shape=(self.config.vocab_size,), initializer="zeros", name="bias")

    def call(self, hidden):
        transformed = self.layer_norm(self.activation(self.transform(hidden)))
        scores = self.word_embeddings(transformed, reverse=True)
        return ops.cast(scores, self.compute_dtype) + ops.cast(self.bias, self.compute_dtype)

    def get_config(self):
        return super().get_config() | {"word_embeddings": keras.saving.serialize_keras_object(self.word_embeddings)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(
            config | {"word_embeddings": keras.saving.deserialize_keras_object(config["word_embeddings"])}
        )
