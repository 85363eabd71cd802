"""Google's original BERT: a directory with bert_config.json and bert_model.ckpt.*, TensorFlow 1's kind, by variable name."""

import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from tinybert_tf.bert import BertConfig
from tinybert_tf.checkpoints import names
from tinybert_tf.checkpoints.weights import Checkpoint
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json

# Hugging Face kept Google's names but for the separators, so its modules are the table.
_MODULES = {theirs.replace(".", "/").replace("layer/{}", "layer_{}"): theirs for theirs in set(names.OURS.values())}
# The heads of run_classifier.py, run_squad.py and run_pretraining.py; their output weights are [out, in] already.
_HEADS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
}
_TRAINING_STATE = re.compile(r"/adam_[mv]$|^global_step$|_power$|loss_scale")


def read(directory: str | Path) -> Checkpoint:
    """Reads `directory`; the head is told by the weights.

    `hidden_act` "gelu" is taken as the exact GELU, as Hugging Face's conversion of the same files takes it.
    """
    prefix, config, reader = open_checkpoint(directory)
    tensors, variables = {}, []
    for name in reader.get_variable_to_shape_map():
        if name in _HEADS:
            tensors[_HEADS[name]] = reader.get_tensor(name)
        elif not _TRAINING_STATE.search(name):
            # The three embedding tables stand in no module of their own.
            path = f"{name}/embeddings" if name.endswith("_embeddings") else name
            variables.append((path, reader.get_tensor(name)))
    tensors |= names.to_hugging_face(variables, _MODULES)
    return Checkpoint(prefix, config, names.head_of(tensors), tensors)


def open_checkpoint(directory: str | Path) -> tuple[str, BertConfig, Any]:
    """The TensorFlow checkpoint of a directory: its prefix, its bert_config.json and a reader.

    Raises:
        InputError: none, several of which no `checkpoint` file names one, a damaged one, or no bert_config.json.
    """
    directory = Path(directory)
    path = directory / "bert_config.json"
    try:
        config = BertConfig.from_dict(read_json(path))
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    prefixes = sorted(str(index.with_suffix("")) for index in directory.glob("*.index"))
    latest = tf.train.latest_checkpoint(str(directory))
    if latest is None and len(prefixes) != 1:
        found = ", ".join(Path(prefix).name for prefix in prefixes) or "none"
        raise InputError(f"{directory}: needs one TensorFlow checkpoint (NAME.index and NAME.data-*), has {found}")
    prefix = latest or prefixes[0]
    try:
        return prefix, config, tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{prefix}: not a whole TensorFlow checkpoint ({str(error).splitlines()[0]})") from None
