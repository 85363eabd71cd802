"""Google's original BERT: TensorFlow 1 variables under the names of its modeling.py."""

from collections.abc import Mapping

import numpy as np

from tinybert_tf.bert import BertConfig
from tinybert_tf.checkpoints import names
from tinybert_tf.checkpoints.weights import Checkpoint

# Hugging Face kept Google's names except for the separators, so its modules are the table.
_MODULES = {name.replace(".", "/").replace("layer/{}", "layer_{}"): name for name in names.MODULES.values()}
# The heads of run_classifier.py, run_squad.py and run_pretraining.py; their output weights are [out, in] already.
_HEADS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
}


def interpret(source: str, config: BertConfig, variables: Mapping[str, np.ndarray]) -> Checkpoint:
    """The variables as a checkpoint; the head is inferred from the weights.

    `hidden_act` "gelu" is taken as the exact GELU, as Hugging Face's conversion of the same files takes it.
    """
    # The embedding tables are not in a module of their own.
    body = (
        (f"{name}/embeddings" if name.endswith("_embeddings") else name, value)
        for name, value in variables.items()
        if name not in _HEADS
    )
    tensors = names.to_hugging_face(body, _MODULES)
    tensors |= {name: variables[variable] for variable, name in _HEADS.items() if variable in variables}
    return Checkpoint(source, config, names.head_of(tensors), tensors)
