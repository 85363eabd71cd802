"""The student of BiLSTM_SOFT: Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"."""

from collections.abc import Mapping

import keras
from keras import layers

from tinybert_tf.bert.model import INPUT_NAMES


def build_bilstm(
    vocab_size: int,
    label2id: Mapping[str, int] | None,
    embedding_size: int = 300,
    units: int = 150,
    hidden_size: int = 200,
    dropout: float = 0.1,
    name: str = "bilstm",
) -> keras.Model:
    """A BiLSTM that reads what a BERT reads and gives logits.

    The last states of both directions of one BiLSTM pass a ReLU layer; the sizes are the paper's for SST-2.

    >>> student = build_bilstm(100, {"no": 0, "yes": 1}, embedding_size=8, units=4, hidden_size=6)
    >>> student.output["logits"].shape
    (None, 2)

    Args:
        vocab_size: of the teacher's tokenizer.
        label2id: label -> row of the logits; None for one score.
        embedding_size: width of the word table.
        units: of the LSTM in each direction.
        hidden_size: of the ReLU layer.
        dropout: before the classifier.
        name: of the model.

    Returns:
        A functional model: the inputs of a `BertModel` -> {"logits": [B, labels]}.
    """
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in INPUT_NAMES}
    embedded = layers.Embedding(vocab_size, embedding_size, name="word_embeddings")(inputs["input_word_ids"])
    mask = keras.ops.not_equal(inputs["input_mask"], 0)
    states = layers.Bidirectional(layers.LSTM(units), name="bilstm")(embedded, mask=mask)
    hidden = layers.Dense(hidden_size, activation="relu", name="hidden")(states)
    logits = layers.Dense(len(label2id) if label2id else 1, name="classifier", dtype="float32")(
        layers.Dropout(dropout)(hidden)
    )
    return keras.Model(inputs, {"logits": logits}, name=name)
