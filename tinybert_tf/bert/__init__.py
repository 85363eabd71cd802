"""The network. Knows nothing of distillation."""

from tinybert_tf.bert.bilstm import BiLstmConfig, BiLstmModel
from tinybert_tf.bert.config import NAMED_SIZES, BertConfig, encoder_flops, size_of
from tinybert_tf.bert.layers import MASK_VALUE
from tinybert_tf.bert.model import HEADS, INPUT_NAMES, BertModel, build_model, logits_model, whole_network
from tinybert_tf.bert.word_codes import WordCodes

__all__ = [
    "HEADS",
    "INPUT_NAMES",
    "MASK_VALUE",
    "NAMED_SIZES",
    "BertConfig",
    "BertModel",
    "BiLstmConfig",
    "BiLstmModel",
    "WordCodes",
    "build_model",
    "encoder_flops",
    "logits_model",
    "size_of",
    "whole_network",
]
