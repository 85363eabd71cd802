"""A BERT's weights, rearranged so that the phone computes less and loses less to int8; the answers stay the same.

What y = LayerNorm(x) = n * gamma + beta hands to a dense layer is folded into it: (n * gamma + beta) W + b equals
n (gamma W) + (beta W + b). So products read n, whose columns have equal spread whatever gamma is, which is what int8
activations need (the "gamma migration" of Wei et al. 2022, Outlier Suppression). Only the residual sum still needs
n * gamma; its beta joins the bias of the block that is added to it.

The query carries 1 / sqrt(head size). A key's bias adds the same number to all logits of a row, which the softmax does not
see, and a value's bias passes through the attention unchanged, since probabilities add up to one: it joins the output's.

Shapes: D hidden size, F feed-forward size, V vocabulary. Kernels are [in, out].
"""

import dataclasses

import numpy as np

from tinybert_tf.bert import BertModel


@dataclasses.dataclass(frozen=True)
class Dense:
    kernel: np.ndarray
    bias: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Layer:
    """One Transformer layer on the normalised input n, with `gamma` and `attention_gamma` for its two residuals.

    Where `scale` is given, query, key and value read n * scale, and the intermediate layer its n times `attention_scale`.
    """

    gamma: np.ndarray
    query: Dense
    key: Dense
    value: Dense
    attention_output: Dense
    attention_gamma: np.ndarray
    intermediate: Dense
    output: Dense
    scale: np.ndarray | None = None
    attention_scale: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Network:
    """word [V, D], position [positions, D], token_type [types, D]; `pooler` is None where the head does not read it."""

    word: np.ndarray
    position: np.ndarray
    token_type: np.ndarray
    layers: tuple[Layer, ...]
    pooler: Dense | None
    classifier: Dense

    @property
    def first_token_layer(self) -> int | None:
        """The layer of which the first token alone is read: the last one, in front of a pooler."""
        return None if self.pooler is None else len(self.layers) - 1


def folded_weights(model: BertModel) -> Network:
    """The weights of a model with a classification, regression, token_classification or span head."""
    arrays = {variable.path: np.asarray(variable.numpy(), np.float32) for variable in model.weights}

    def dense(path: str) -> Dense:
        return Dense(arrays[f"{path}/kernel"], arrays[f"{path}/bias"])

    def norm(path: str) -> tuple[np.ndarray, np.ndarray]:
        return arrays[f"{path}/gamma"], arrays[f"{path}/beta"]

    scale = np.float32(model.config.attention_head_size**-0.5)
    gamma, beta = norm("embeddings/layer_norm")
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
            Layer(
                gamma=gamma,
                query=Dense(query.kernel * scale, query.bias * scale),
                key=Dense(key.kernel),
                value=Dense(value.kernel),
                attention_output=Dense(output.kernel, output.bias + value.bias @ output.kernel + beta),
                attention_gamma=attention_gamma,
                intermediate=_after_norm(dense(f"{name}/intermediate"), attention_gamma, attention_beta),
                output=Dense(contracted.kernel, contracted.bias + attention_beta),
            )
        )
        gamma, beta = norm(f"{name}/output_layer_norm")
    has_pooler = model.head in ("classification", "regression")
    classifier = dense("classifier")
    return Network(
        word=arrays["embeddings/word_embeddings/embeddings"],
        position=arrays["embeddings/position_embeddings/embeddings"],
        token_type=arrays["embeddings/token_type_embeddings/embeddings"],
        layers=tuple(layers),
        pooler=_after_norm(dense("pooler/dense"), gamma, beta) if has_pooler else None,
        classifier=classifier if has_pooler else _after_norm(classifier, gamma, beta),
    )


def _after_norm(layer: Dense, gamma: np.ndarray, beta: np.ndarray) -> Dense:
    """The layer that gives for n what `layer` gives for n * gamma + beta."""
    return Dense(gamma[:, None] * layer.kernel, beta @ layer.kernel + layer.bias)
