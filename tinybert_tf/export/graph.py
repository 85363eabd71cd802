"""The network as TFLite runs it fastest: one sentence, a fixed length, and only the operations that the answer needs.

It is built from a `BertModel`'s weights and gives its outputs to float rounding. What differs from the training graph:

- Activations are `[seq, hidden]`, so that every dense layer becomes one FULLY_CONNECTED, which has an int8 kernel.
- Query, key and value are one product, with 1 / sqrt(head size) folded into the query's weights.
- A classifier reads the last layer at the first token alone: there the query, the attention's output and the
  feed-forward block are computed for one row instead of `seq` (a fifth of TinyBERT4's time at 128).
- Word, position and type tables are one, looked up at once.

Shapes: S sequence, D hidden size, H heads, d = D / H.
"""

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES, MASK_VALUE, BertModel
from tinybert_tf.errors import InputError

# Output names by head. The span's order and names are what the Task Library's BertQuestionAnswerer asks for.
OUTPUT_NAMES = {
    "classification": ("probability",),
    "regression": ("score",),
    "span": ("end_logits", "start_logits"),
}

_INT8_LIMIT = 127


def inference_function(model: BertModel, seq_len: int, int8_embeddings: bool = False):
    """A `tf.function` of three int32 `[1, seq_len]` tensors (`INPUT_NAMES`) that returns a dict by `OUTPUT_NAMES`.

    Classification gives probabilities `[1, labels]`, regression a score `[1, 1]`, span two rows of logits `[1, seq_len]`.

    Args:
        int8_embeddings: shape the embedding table so that rounding it to int8 with a single scale, which is what the
            converter does, amounts to a scale of its own for each row.

    Raises:
        InputError: a head without a TFLite form.
    """
    if model.head not in OUTPUT_NAMES:
        raise InputError(
            f"a model with the head {model.head!r} has no TFLite form; there are {', '.join(OUTPUT_NAMES)}: "
            "fine-tune it on a task first"
        )
    weights = _Weights(model)

    def infer(input_word_ids, input_mask, input_type_ids):
        hidden = _embed(weights, seq_len, input_word_ids, input_type_ids, int8_embeddings)
        mask = tf.reshape((1.0 - tf.cast(input_mask, tf.float32)) * MASK_VALUE, (1, 1, seq_len))
        last = model.config.num_hidden_layers - 1
        for layer in range(last + 1):
            rows = 1 if layer == last and model.head != "span" else seq_len
            hidden = _transformer_layer(weights, f"layer_{layer}", hidden, mask, rows)
        if model.head == "span":
            start, end = tf.unstack(weights.dense("classifier", hidden), axis=1)
            return {"end_logits": end[None], "start_logits": start[None]}
        pooled = tf.tanh(weights.dense("pooler/dense", hidden))
        logits = weights.dense("classifier", pooled)
        return {"score": logits} if model.head == "regression" else {"probability": tf.nn.softmax(logits)}

    return tf.function(infer, input_signature=[tf.TensorSpec((1, seq_len), tf.int32, name) for name in INPUT_NAMES])


class _Weights:
    """A model's arrays by Keras path, and the two layers that every part is made of."""

    def __init__(self, model: BertModel):
        self.config = model.config
        self.arrays = {variable.path: np.asarray(variable.numpy(), np.float32) for variable in model.weights}

    def __getitem__(self, path: str) -> np.ndarray:
        return self.arrays[path]

    def dense(self, path: str, x):
        return tf.matmul(x, self[f"{path}/kernel"]) + self[f"{path}/bias"]

    def layer_norm(self, path: str, x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
        normal = (x - mean) * tf.math.rsqrt(variance + self.config.layer_norm_eps)
        return normal * self[f"{path}/gamma"] + self[f"{path}/beta"]

    def activation(self, x):
        if self.config.hidden_act == "relu":
            return tf.nn.relu(x)
        # Both forms fuse into the GELU operation.
        return tf.nn.gelu(x, approximate=self.config.hidden_act != "gelu")


def _embed(weights: _Weights, seq_len: int, word_ids, type_ids, int8_embeddings: bool):
    """[1, S] ids -> [S, D]: a word's, a position's and a type's row, summed and normalised."""
    word, position, token_type = (
        weights[f"embeddings/{name}_embeddings/embeddings"] for name in ("word", "position", "token_type")
    )
    # One table, so that positions become int8 along with the words; as a constant of their own they would stay float.
    table = np.concatenate([word, position[:seq_len], token_type])
    first_position = len(word)
    first_type = first_position + seq_len
    rows = tf.concat(
        [word_ids[0], tf.range(first_position, first_type, dtype=tf.int32), type_ids[0] + first_type], axis=0
    )
    if int8_embeddings:
        scales = _row_scales(table)
        looked_up = tf.gather(table / scales, rows) * tf.gather(scales, rows)
    else:
        looked_up = tf.gather(table, rows)
    summed = tf.reduce_sum(tf.reshape(looked_up, (3, seq_len, weights.config.hidden_size)), axis=0)
    return weights.layer_norm("embeddings/layer_norm", summed)


def _row_scales(table: np.ndarray) -> np.ndarray:
    """The largest value of each row, rounded up to a multiple of 1/127 of the table's largest: [rows, 1].

    Divided by it every row lies in [-1, 1], and the scales themselves survive int8 without error. On the word table of a
    pre-trained MiniLM this leaves 0.7% of error (root mean square) where a single scale leaves 4.3%.
    """
    largest = np.abs(table).max(axis=1, keepdims=True)
    step = max(float(largest.max()), np.finfo(np.float32).tiny) / _INT8_LIMIT
    return (np.clip(np.ceil(largest / step - 1e-6), 1, _INT8_LIMIT) * step).astype(np.float32)


def _transformer_layer(weights: _Weights, name: str, hidden, mask, rows: int):
    """One BERT layer, computed for the first `rows` positions: [S, D] -> [rows, D]."""
    seq_len, hidden_size = hidden.shape
    queried = hidden if rows == seq_len else hidden[:rows]
    attended = _attention(weights, f"{name}/attention", hidden, queried, mask)
    context = weights.dense(f"{name}/attention/output", tf.reshape(attended, (rows, hidden_size)))
    hidden = weights.layer_norm(f"{name}/attention_layer_norm", queried + context)
    expanded = weights.activation(weights.dense(f"{name}/intermediate", hidden))
    return weights.layer_norm(f"{name}/output_layer_norm", hidden + weights.dense(f"{name}/output", expanded))


def _attention(weights: _Weights, name: str, hidden, queried, mask):
    """Heads' contexts of the queried rows: [rows, H, d]."""
    config = weights.config
    scale = np.float32(config.attention_head_size**-0.5)
    query, key, value = (
        (weights[f"{name}/{part}/kernel"], weights[f"{name}/{part}/bias"]) for part in ("query", "key", "value")
    )
    query = (query[0] * scale, query[1] * scale)

    def project(x, *projections):  # [rows, D] -> one [H, rows, d] for each projection
        kernel, bias = (np.concatenate(parts, axis=-1) for parts in zip(*projections, strict=True))
        heads = len(projections) * config.num_attention_heads
        joined = tf.reshape(tf.matmul(x, kernel) + bias, (x.shape[0], heads, config.attention_head_size))
        joined = tf.transpose(joined, (1, 0, 2))
        return tf.split(joined, len(projections)) if len(projections) > 1 else [joined]

    if queried is hidden:
        queries, keys, values = project(hidden, query, key, value)
    else:
        (queries,) = project(queried, query)
        keys, values = project(hidden, key, value)
    probabilities = tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True) + mask)  # [H, rows, S]
    return tf.transpose(tf.matmul(probabilities, values), (1, 0, 2))
