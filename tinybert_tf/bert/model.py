"""BERT as a functional Keras model whose outputs include all intermediate states."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from tinybert_tf.bert.config import BertConfig
from tinybert_tf.bert.freezing import frozen_layers, rebuild
from tinybert_tf.bert.layers import (
    AttentionMask,
    Embeddings,
    MaskedLMHead,
    Pooler,
    RelativeAttentionBias,
    TransformerLayer,
    dense,
    register,
)
from tinybert_tf.bert.word_codes import WordCodes
from tinybert_tf.errors import InputError

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")
HEADS = ("encoder", "classification", "regression", "token_classification", "span", "masked_lm")
_WORD_CODES = "word_codes.npz"


def _head_layer(config: BertConfig, head: str, word_embeddings, policy) -> keras.layers.Layer:
    """The last layer of a task: [B, D] or [B, S, D] -> logits."""
    if head == "masked_lm":
        return MaskedLMHead(config, word_embeddings, name="masked_lm", dtype=policy)
    units = {"regression": 1, "span": 2}.get(head, config.num_labels)
    # Logits stay in the variables' precision: under mixed_bfloat16 the loss sees float32.
    return dense(config, units, name="classifier", dtype=keras.DTypePolicy(policy.variable_dtype))


@register
class BertModel(keras.Model):
    """BERT, or a network of a related family, with its attention logits and hidden states as outputs.

    >>> from tinybert_tf.bert import BertConfig
    >>> model = BertModel(BertConfig(vocab_size=30, num_hidden_layers=2, hidden_size=8, num_attention_heads=2))
    >>> print(*(state.shape for state in model.output["hidden_states"]))
    (None, None, 8) (None, None, 8) (None, None, 8)

    Inputs: a dict of int32 `[batch, seq]`: `input_word_ids`, `input_mask` (1 = token, 0 = padding), `input_type_ids`.

    Outputs: a dict with
        `hidden_states`: list of layers + 1 tensors `[batch, seq, hidden]`; index 0 is the embedding output.
        `attention_logits`: list of one `[batch, heads, seq, seq]` a layer: scaled, mask and an MPNet's
            bias by relative position added, before the softmax.
        `sequence_output`: `[batch, seq, hidden]`, the last hidden state.
        `pooled_output`: `[batch, hidden]`.
        `logits` (all heads but "encoder"): classification `[batch, labels]`, regression `[batch, 1]`,
            token_classification `[batch, seq, labels]`, span `[batch, seq, 2]` (start, end),
            masked_lm `[batch, seq, vocabulary]`.

    Args:
        config: the network's family, sizes and labels.
        head: one of `HEADS`.
        dtype: a Keras dtype policy for the whole model: "float32", "mixed_bfloat16" or "bfloat16".
        name: of the Keras model.

    Raises:
        InputError: an unknown head, or a classifier without labels.

    Reference: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
    """

    def __init__(self, config: BertConfig, head: str = "encoder", dtype: Any = None, name: str = "bert", **kwargs):
        if head not in HEADS:
            raise InputError(f"no head named {head!r}; there are {', '.join(HEADS)}")
        if head in ("classification", "token_classification") and not config.label2id:
            raise InputError(f"a {head} head needs the labels: give BertConfig(label2id={{name: id, ...}})")
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

        # === Layers ===
        embeddings = Embeddings(config, name="embeddings", dtype=policy)
        attention_mask = AttentionMask(name="attention_mask", dtype=policy)
        transformer_layers = [
            TransformerLayer(config, name=f"layer_{i}", dtype=policy) for i in range(config.num_hidden_layers)
        ]
        relative_bias = None
        if config.relative_attention_num_buckets:
            relative_bias = RelativeAttentionBias(config, name="relative_attention_bias", dtype=policy)
        pooler = Pooler(config, name="pooler", dtype=policy)

        # === Functional model ===
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}
        hidden = embeddings(inputs["input_word_ids"], inputs["input_type_ids"])
        mask = attention_mask(inputs["input_mask"])
        if relative_bias is not None:
            mask = relative_bias(mask)  # [B, 1, 1, S] -> [B, H, S, S]
        hidden_states, attention_logits = [hidden], []
        for layer in transformer_layers:
            hidden, logits = layer(hidden, mask)
            hidden_states.append(hidden)
            attention_logits.append(logits)
        pooled = pooler(hidden)
        outputs = {
            "hidden_states": hidden_states,
            "attention_logits": attention_logits,
            "sequence_output": hidden,
            "pooled_output": pooled,
        }
        head_layer = None
        if head != "encoder":
            head_layer = _head_layer(config, head, embeddings.word_embeddings, policy)
            features = pooled if head in ("classification", "regression") else hidden
            if features is pooled and config.classifier_activation:
                features = layers.Activation(config.classifier_activation, name="classifier_activation", dtype=policy)(
                    features
                )
            if head in ("classification", "regression", "token_classification"):
                rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
                features = layers.Dropout(rate, name="classifier_dropout", dtype=policy)(features)
            outputs["logits"] = head_layer(features)
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)

        # === Config ===
        self.config = config
        self.head = head
        self.dtype_policy = policy
        self.embeddings = embeddings
        self.attention_mask = attention_mask
        self.relative_attention_bias = relative_bias
        self.transformer_layers = transformer_layers
        self.pooler = pooler
        self.head_layer = head_layer
        self.word_codes: WordCodes | None = None  # of a word table that has them

    def text_features(self, hidden):
        """What the classifier of a text reads, [B, D], from the last hidden states: the pooler's output, and its ReLU if any."""
        pooled = self.pooler(hidden)
        return keras.ops.relu(pooled) if self.config.classifier_activation else pooled

    def additive_mask(self, input_mask):
        """What is added to the attention logits: [B, 1, 1, S], with a bias by relative position [B, H, S, S]."""
        mask = self.attention_mask(input_mask)
        return mask if self.relative_attention_bias is None else self.relative_attention_bias(mask)

    def get_config(self):
        return {
            "config": self.config.to_dict(),
            "head": self.head,
            "dtype": self.dtype_policy.name,
            "name": self.name,
            "trainable": self.trainable,
            "frozen": frozen_layers(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return rebuild(cls, config | {"config": BertConfig.from_dict(config["config"])})

    def save_assets(self, dir_path: str) -> None:
        """Called by Keras' `save`: the codes belong to the weights, and are none themselves."""
        if self.word_codes is not None:
            np.savez(Path(dir_path) / _WORD_CODES, **vars(self.word_codes))

    def load_assets(self, dir_path: str | None) -> None:
        """Called by Keras when it loads a model; None for one that was saved without assets."""
        if dir_path is not None and (path := Path(dir_path) / _WORD_CODES).is_file():
            with np.load(path) as arrays:
                self.word_codes = WordCodes(**arrays)


def build_model(config: BertConfig, head: str = "encoder", dtype: Any = None, name: str = "bert") -> BertModel:
    """A network with random weights.

    >>> from tinybert_tf.bert import BertConfig
    >>> model = build_model(BertConfig.named("2x8x2x16", vocab_size=30, label2id={"no": 0, "yes": 1}), head="classification")
    >>> model.count_params()
    5658

    Args:
        config: the network's family, sizes and labels.
        head: one of `HEADS`.
        dtype: a Keras dtype policy for the whole model.
        name: of the Keras model.

    Returns:
        A `BertModel`; see there for inputs and outputs.

    Raises:
        InputError: an unknown head, a classifier without labels, or something else than a `BertConfig`.
    """
    if not isinstance(config, BertConfig):
        known = f'`tb.BertConfig.named("{config}")`' if isinstance(config, str) else "a `tb.BertConfig`"
        raise InputError(f"is a {type(config).__name__}; give {known}", "config")
    return BertModel(config, head=head, dtype=dtype, name=name)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Hides a network from Keras' attribute tracking, so that layers the logits do not depend on are neither trained nor
    saved.
    """

    network: BertModel


@register
class LogitsModel(keras.Model):
    """A network with its logits as the only output; see `logits_model`. It is serialized as the network that it wraps."""

    def __init__(self, network: BertModel, name: str | None = None, **kwargs):
        if "logits" not in network.output:
            raise InputError(f"the model has the head {network.head!r}, which has no logits; build it with a task head")
        super().__init__(network.input, network.output["logits"], name=name or f"{network.name}_logits", **kwargs)
        self.dtype_policy = network.dtype_policy  # Keras scales the loss of mixed_float16 by it
        self._source = _Source(network)

    @property
    def network(self) -> BertModel:
        """The network that it wraps."""
        return self._source.network

    def get_config(self):
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "name": self.name,
            "trainable": self.trainable,
            "frozen": frozen_layers(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return rebuild(cls, config | {"network": network})

    def save_assets(self, dir_path: str) -> None:
        """Those of the network."""
        self.network.save_assets(dir_path)

    def load_assets(self, dir_path: str | None) -> None:
        """Those of the network."""
        self.network.load_assets(dir_path)


def logits_model(model: BertModel) -> LogitsModel:
    """The same network, weights shared, with `logits` as its only output: for Keras' own losses, metrics and exports.

    >>> import keras
    >>> from tinybert_tf.bert import BertConfig
    >>> model = build_model(BertConfig.named("2x8x2x16", vocab_size=30, label2id={"no": 0, "yes": 1}), head="classification")
    >>> classifier = logits_model(model)
    >>> classifier.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> classifier.output.shape
    (None, 2)

    Args:
        model: with a task head.

    Returns:
        A functional model that shares its weights with `model`.

    Raises:
        InputError: an encoder, which has no logits.
    """
    return LogitsModel(model)


def whole_network(model: keras.Model) -> keras.Model:
    """The `BertModel` behind a `logits_model`, with its head and labels; every other model as it is."""
    return model.network if isinstance(model, LogitsModel) else model
