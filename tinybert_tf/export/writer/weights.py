"""A BERT's weights, rearranged so that the device computes less and loses less to int8; the outputs stay the same.

The gamma and beta of y = LayerNorm(x) = n * gamma + beta are folded into the dense layers that read y:
(n * gamma + beta) W + b equals n (gamma W) + (beta W + b). So products read n, whose columns have equal spread whatever
gamma is, which int8 activations need (the "gamma migration" of Wei et al. 2022, Outlier Suppression). Only the residual sum
still needs n * gamma; its beta is added to the bias of the block that is added to it.

1 / sqrt(head size) is folded into the query. A key's bias adds the same number to all logits of a row, which the softmax
cancels: it is dropped. A value's bias passes through the attention unchanged, since probabilities add up to one: it is added
to the output's bias.

Shapes: D hidden size, F feed-forward size, V vocabulary. Kernels are [in, out].
"""

import dataclasses

import numpy as np

from tinybert_tf.bert import BertModel, WordCodes
from tinybert_tf.checkpoints.weights import arrays_of
from tinybert_tf.checkpoints.word_codes import codes_of

# What an encoder's file returns instead of a head's output: the pooler's, the mean over a text's tokens, or that of [CLS].
VECTORS = ("pooled", "mean", "first_token")


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A dense layer: kernel [in, out] and bias [out], None for no bias."""

    kernel: np.ndarray
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class FoldedLayer:
    """One Transformer layer on the normalized input n, with `gamma` and `attention_gamma` for its two residuals.

    With a `scale`, query, key and value read n * scale; with an `attention_scale`, the intermediate layer reads the
    attention's n * attention_scale (see `smoothing`).
    """

    gamma: np.ndarray
    query: Matrix
    key: Matrix
    value: Matrix
    attention_output: Matrix
    attention_gamma: np.ndarray
    intermediate: Matrix
    output: Matrix
    scale: np.ndarray | None = None
    attention_scale: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class FoldedBert:
    """word [V, E], position [positions, E], token_type [types, E]; `pooler` and `classifier` are None if there is none.

    `word_codes` are those of the word table, if it has them. `token_type`, `bias` by relative position [H, longest, longest] and
    the `projection` of an ELECTRA's embeddings [E, D] are None in families without them. With a projection the first layer reads
    its output, which is not normalized.
    `output_norm` is the last normalization's gamma and beta, which a vector needs and a classifier carries.
    """

    word: np.ndarray
    position: np.ndarray
    token_type: np.ndarray | None
    bias: np.ndarray | None
    projection: Matrix | None
    layers: tuple[FoldedLayer, ...]
    pooler: Matrix | None
    classifier: Matrix | None
    output_norm: tuple[np.ndarray, np.ndarray]
    reads_first_token: bool
    word_codes: WordCodes | None = None

    @property
    def first_token_layer(self) -> int | None:
        """The layer of which only the first token is read: the last one or None."""
        return len(self.layers) - 1 if self.reads_first_token else None


def folded_weights(model: BertModel, longest: int | None = None, head: str | None = None) -> FoldedBert:
    """The rearranged weights of a model.

    Args:
        model: with a classification, regression, token_classification or span head, in any precision; any for a vector.
        longest: tokens that a bias by relative position is made for; by default all positions.
        head: None, that of the model; or one of `VECTORS`.

    Raises:
        InputError: weights that no file can hold; see `arrays_of`.
    """
    head = head or model.head
    arrays = arrays_of(model)

    def dense(path: str) -> Matrix:
        return Matrix(arrays[f"{path}/kernel"], arrays[f"{path}/bias"])

    def norm(path: str) -> tuple[np.ndarray, np.ndarray]:
        return arrays[f"{path}/gamma"], arrays[f"{path}/beta"]

    scale = np.float32(model.config.attention_head_size**-0.5)
    gamma, beta = norm("embeddings/layer_norm")
    projection = None
    if "embeddings/project/kernel" in arrays:
        projection = _after_norm(dense("embeddings/project"), gamma, beta)
        width = model.config.hidden_size
        gamma, beta = np.ones(width, np.float32), np.zeros(width, np.float32)
    layers = []
    for number in range(model.config.num_hidden_layers):
        name = f"layer_{number}"
        query, key, value = (
            _after_norm(dense(f"{name}/attention/{part}"), gamma, beta) for part in ("query", "key", "value")
        )
        output = dense(f"{name}/attention/output")
        attention_gamma, attention_beta = norm(f"{name}/attention_layer_norm")
        contracted = dense(f"{name}/output")
        layers.append(
            FoldedLayer(
                gamma=gamma,
                query=Matrix(query.kernel * scale, query.bias * scale),
                key=Matrix(key.kernel),
                value=Matrix(value.kernel),
                attention_output=Matrix(output.kernel, output.bias + value.bias @ output.kernel + beta),
                attention_gamma=attention_gamma,
                intermediate=_after_norm(dense(f"{name}/intermediate"), attention_gamma, attention_beta),
                output=Matrix(contracted.kernel, contracted.bias + attention_beta),
            )
        )
        gamma, beta = norm(f"{name}/output_layer_norm")
    has_pooler = head in ("classification", "regression", "pooled")
    classifier = None if head in VECTORS else dense("classifier")
    if classifier is not None and not has_pooler:
        classifier = _after_norm(classifier, gamma, beta)
    return FoldedBert(
        word=arrays["embeddings/word_embeddings/embeddings"],
        position=arrays["embeddings/position_embeddings/embeddings"],
        token_type=arrays.get("embeddings/token_type_embeddings/embeddings"),
        bias=_bias(model, longest or model.config.max_position_embeddings),
        projection=projection,
        layers=tuple(layers),
        pooler=_after_norm(dense("pooler/dense"), gamma, beta) if has_pooler else None,
        classifier=classifier,
        output_norm=(gamma, beta),
        reads_first_token=has_pooler or head == "first_token",
        word_codes=codes_of(model),
    )


def _bias(model: BertModel, length: int) -> np.ndarray | None:
    """The bias by relative position that is added to the logits of every layer, [H, length, length]."""
    if model.relative_attention_bias is None:
        return None
    unmasked = np.zeros((1, 1, 1, length), np.float32)
    return np.asarray(model.relative_attention_bias(unmasked), np.float32)[0]


def _after_norm(layer: Matrix, gamma: np.ndarray, beta: np.ndarray) -> Matrix:
    """The layer whose output for n equals that of `layer` for n * gamma + beta."""
    return Matrix(gamma[:, None] * layer.kernel, beta @ layer.kernel + layer.bias)
