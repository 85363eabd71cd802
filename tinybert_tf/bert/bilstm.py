"""A BiLSTM that reads what a BERT reads: the student of BiLSTM_SOFT.

Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks".
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from tinybert_tf.bert.freezing import frozen_layers, rebuild
from tinybert_tf.bert.layers import register
from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError

MODEL_TYPE = "bilstm"
_SIZES = ("vocab_size", "embedding_size", "units", "hidden_size", "max_position_embeddings")


@dataclasses.dataclass(frozen=True)
class BiLstmConfig:
    """One BiLSTM; the sizes are the paper's for SST-2.

    >>> BiLstmConfig(vocab_size=100, label2id={"no": 0, "yes": 1}).num_labels
    2

    Attributes:
        vocab_size: of the teacher's tokenizer.
        label2id: label -> row of the logits; None for one score.
        embedding_size: width of the word table.
        units: of the LSTM in each direction.
        hidden_size: of the ReLU layer behind it.
        dropout: before the classifier.
        max_position_embeddings: the longest input; the network itself has no limit.

    Raises:
        InputError: a size that is no integer of at least 1, or a dropout that is not from 0 to below 1.
    """

    vocab_size: int
    label2id: Mapping[str, int] | None = None
    embedding_size: int = 300
    units: int = 150
    hidden_size: int = 200
    dropout: float = 0.1
    max_position_embeddings: int = 512

    def __post_init__(self):
        for name in _SIZES:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InputError("must be an integer of at least 1", name, repr(getattr(self, name)))
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise InputError("must be a number from 0 to below 1", "dropout", repr(self.dropout))

    def encoder_flops(self, seq_len: int) -> int:
        """Multiplications and additions of both directions and of the layer behind them for one text of that length."""
        step = 4 * self.units * (self.embedding_size + self.units)
        return 2 * (2 * seq_len * step + 2 * self.units * self.hidden_size)

    @property
    def num_labels(self) -> int:
        """Width of the logits."""
        return len(self.label2id) if self.label2id else 1


@register
class BiLstmModel(keras.Model):
    """A BiLSTM with the inputs of a `BertModel` and logits as its only output.

    The last states of both directions of one BiLSTM pass a ReLU layer. Padding is skipped.

    Inputs: a dict of int32 `[batch, seq]`: `input_word_ids`, `input_mask`, `input_type_ids` (which is not read).

    Outputs: a dict with `logits` `[batch, labels]`.

    Args:
        config: sizes and labels.
        dtype: a Keras dtype policy for the whole model.
        name: of the model.
    """

    def __init__(self, config: BiLstmConfig, dtype: Any = None, name: str = "bilstm", **kwargs):
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in INPUT_NAMES}
        embeddings = layers.Embedding(config.vocab_size, config.embedding_size, name="word_embeddings", dtype=policy)
        # cuDNN refuses a row that is masked whole, such as those that fill up a batch.
        forward = layers.LSTM(config.units, name="lstm", dtype=policy, use_cudnn=False)
        lstm = layers.Bidirectional(forward, name="bilstm", dtype=policy)
        hidden_layer = layers.Dense(config.hidden_size, activation="relu", name="hidden", dtype=policy)
        classifier = layers.Dense(config.num_labels, name="classifier", dtype=policy.variable_dtype)

        mask = keras.ops.not_equal(inputs["input_mask"], 0)
        states = lstm(embeddings(inputs["input_word_ids"]), mask=mask)  # [B, 2 units]
        hidden = layers.Dropout(config.dropout, name="dropout", dtype=policy)(hidden_layer(states))
        super().__init__(inputs, {"logits": classifier(hidden)}, name=name, **kwargs)

        self.config = config
        self.head = "classification" if config.label2id else "regression"
        self.dtype_policy = policy
        self.word_embeddings, self.lstm = embeddings, lstm
        self.hidden_layer, self.head_layer = hidden_layer, classifier

    def get_config(self):
        return {
            "config": dataclasses.asdict(self.config),
            "dtype": self.dtype_policy.name,
            "name": self.name,
            "trainable": self.trainable,
            "frozen": frozen_layers(self),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return rebuild(cls, config | {"config": BiLstmConfig(**config["config"])})
