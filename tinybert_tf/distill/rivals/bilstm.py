"""The student of BiLSTM_SOFT: Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"."""

from collections.abc import Mapping

from tinybert_tf.bert import BiLstmConfig, BiLstmModel


def build_bilstm(
    vocab_size: int,
    label2id: Mapping[str, int] | None,
    embedding_size: int = 300,
    units: int = 150,
    hidden_size: int = 200,
    dropout: float = 0.1,
    name: str = "bilstm",
) -> BiLstmModel:
    """A BiLSTM classifier with random weights and the inputs of a `BertModel`; see `BiLstmModel`.

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
    """
    return BiLstmModel(BiLstmConfig(vocab_size, label2id, embedding_size, units, hidden_size, dropout), name=name)
