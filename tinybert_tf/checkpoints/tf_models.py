"""TF-Models: the TensorFlow 2 object checkpoint of a BERT encoder or pretrainer."""

import re
from collections.abc import Mapping

import numpy as np

from tinybert_tf.bert import BertConfig
from tinybert_tf.checkpoints import names
from tinybert_tf.checkpoints.weights import Checkpoint

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_LAYER, _THEIRS = "_transformer_layers/{}", "bert.encoder.layer.{}"
_MODULES = {
    "_embedding_layer": "bert.embeddings.word_embeddings",
    "_position_embedding_layer": "bert.embeddings.position_embeddings",
    "_type_embedding_layer": "bert.embeddings.token_type_embeddings",
    "_embedding_norm_layer": "bert.embeddings.LayerNorm",
    f"{_LAYER}/_attention_layer/_query_dense": f"{_THEIRS}.attention.self.query",
    f"{_LAYER}/_attention_layer/_key_dense": f"{_THEIRS}.attention.self.key",
    f"{_LAYER}/_attention_layer/_value_dense": f"{_THEIRS}.attention.self.value",
    f"{_LAYER}/_attention_layer/_output_dense": f"{_THEIRS}.attention.output.dense",
    f"{_LAYER}/_attention_layer_norm": f"{_THEIRS}.attention.output.LayerNorm",
    f"{_LAYER}/_intermediate_dense": f"{_THEIRS}.intermediate.dense",
    f"{_LAYER}/_output_dense": f"{_THEIRS}.output.dense",
    f"{_LAYER}/_output_layer_norm": f"{_THEIRS}.output.LayerNorm",
    "_pooler_layer": "bert.pooler.dense",
    "masked_lm/dense": "cls.predictions.transform.dense",
    "masked_lm/layer_norm": "cls.predictions.transform.LayerNorm",
    "masked_lm/output_bias": "cls.predictions",
}


def interpret(source: str, config: BertConfig, variables: Mapping[str, np.ndarray]) -> Checkpoint:
    """The variables of a BertEncoderV2, BertEncoder or BertPretrainerV2, saved under any name, as a checkpoint."""
    paths = {name: _module_path(name.removesuffix(_VALUE), config) for name in variables if name.endswith(_VALUE)}
    tensors = names.to_hugging_face(((path, variables[name]) for name, path in paths.items()), _MODULES)
    if config.hidden_act == "gelu":
        config = config.replace(hidden_act="gelu_pytorch_tanh")  # what TF-Models computes under this name
    return Checkpoint(source, config, names.head_of(tensors), tensors)


def _module_path(name: str, config: BertConfig) -> str:
    """`name` without the objects above the encoder, as in a BertEncoderV2."""
    if name.endswith("masked_lm/embedding_table"):
        return "_embedding_layer/embeddings"  # the tied table is stored once, under the shorter of its two paths
    name = name.replace("output_bias.Sbias", "output_bias/bias")
    name = re.sub(r"^.*?(?=(\b_[a-z]+_|\blayer_with_weights-|\bmasked_lm/))", "", name)
    # The older, functional BertEncoder numbers its layers in the order in which they are called.
    layers = ["_embedding_layer", "_position_embedding_layer", "_type_embedding_layer", "_embedding_norm_layer"]
    layers += [_LAYER.format(number) for number in range(config.num_hidden_layers)] + ["_pooler_layer"]
    if (numbered := re.match(r"layer_with_weights-(\d+)/", name)) and int(numbered[1]) < len(layers):
        name = f"{layers[int(numbered[1])]}/{name[numbered.end() :]}"
    return name
