"""The files that Google's and TF-Models' models have in common: a TensorFlow checkpoint beside bert_config.json."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertConfig
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, system_error

CONFIG_NAME = "bert_config.json"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the entry that identifies TensorFlow 2's object checkpoints

# Training state beside the weights.
_STATE = re.compile(r"adam_[mv]$|_power$|loss_scale|\.OPTIMIZER_SLOT|^(.*/)?optimizer/|^(global_step|save_counter)\b")


def read_variables(directory: str | Path) -> tuple[str, BertConfig, dict[str, np.ndarray]]:
    """The prefix of a directory's checkpoint, its configuration, and its variables by name without the training state.

    Raises:
        InputError: no checkpoint, several of which no `checkpoint` file names one, a damaged one, or no configuration.
    """
    directory = Path(directory)
    path = directory / CONFIG_NAME
    values = read_json_object(path)
    try:
        config = BertConfig.from_dict(values)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from None
    prefixes = sorted(str(index.with_suffix("")) for index in directory.glob("*.index"))
    try:
        latest = tf.train.latest_checkpoint(str(directory))
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{directory / 'checkpoint'}: damaged ({reason}); fetch it again or delete it") from None
    if latest is None and len(prefixes) != 1:
        found = ", ".join(Path(prefix).name for prefix in prefixes) or "none"
        raise InputError(f"{directory}: needs one TensorFlow checkpoint (NAME.index and NAME.data-*), has {found}")
    prefix = latest or prefixes[0]
    try:
        reader = tf.train.load_checkpoint(prefix)
        wanted = [name for name in reader.get_variable_to_shape_map() if not _STATE.search(name)]
        return prefix, config, {name: reader.get_tensor(name) for name in wanted}
    # TensorFlow's reader raises various errors for damaged files, such as IndexError for a truncated one.
    except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
        if reason := system_error(error):
            raise InputError(f"{prefix}: cannot be read: {reason}; see to the disk or the files' permissions") from None
        reason = str(error).splitlines()[0]
        raise InputError(f"{prefix}: not a whole TensorFlow checkpoint ({reason}); fetch or write it again") from None
