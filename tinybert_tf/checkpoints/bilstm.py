"""Model directories of a BiLSTM: config.json, vocab.txt and model.safetensors, in this library's own form."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinybert_tf.bert.bilstm import MODEL_TYPE, BiLstmConfig, BiLstmModel
from tinybert_tf.checkpoints.weights import as_float32, check_numbers, describe
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object

_ARCHITECTURE = "BiLstmForSequenceClassification"


def is_bilstm(directory: str | Path) -> bool:
    """Whether a directory's config.json is of a BiLSTM."""
    path = Path(directory) / "config.json"
    return path.is_file() and read_json_object(path).get("model_type") == MODEL_TYPE


def read_config(directory: str | Path) -> tuple[BiLstmConfig, str]:
    """The configuration and the head that a directory was saved with.

    Raises:
        InputError: a value that is missing or cannot be used.
    """
    path = Path(directory) / "config.json"
    values = read_json_object(path)
    names = [field.name for field in dataclasses.fields(BiLstmConfig)]
    try:
        config = BiLstmConfig(**{name: values[name] for name in names})
        rows = sorted((config.label2id or {}).values())
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing; write the directory again") from None
    except (InputError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None
    if rows != list(range(len(rows))):
        raise InputError(f"{path}: label2id must number the labels from 0 to {len(rows) - 1}")
    return config, "classification" if config.label2id else "regression"


def config_json(model: BiLstmModel) -> dict:
    """What config.json says of a network."""
    labels = dict(model.config.label2id or {}) or None
    values = {"model_type": MODEL_TYPE, "architectures": [_ARCHITECTURE], "library_name": "tinybert_tf"}
    return values | dataclasses.asdict(dataclasses.replace(model.config, label2id=labels))


def tensors(model: BiLstmModel) -> dict[str, np.ndarray]:
    """A network's weights by the names that they have in the file, in float32; a LoRA is added to its kernel.

    Raises:
        InputError: a weight is NaN, infinity or an integer.
    """
    arrays = {name: variable.numpy() for name, variable in _variables(model).items()}
    for name, values in arrays.items():
        check_numbers(describe(model), name, values)
    return {name: as_float32(values) for name, values in arrays.items()}


def build(
    config: BiLstmConfig,
    found: Mapping[str, np.ndarray],
    source: str | Path,
    dtype: str | None = None,
    label2id: Mapping[str, int] | None = None,
) -> BiLstmModel:
    """A network with the weights of a file.

    Args:
        config: as `read_config` gives it.
        found: the tensors by name.
        source: of them, for messages.
        dtype: Keras dtype policy of the network.
        label2id: the order in which the classes are wanted, by default that of the configuration.

    Raises:
        InputError: a tensor that is missing, has another shape or holds no finite floats, or other classes.
    """
    order = None
    if label2id is not None and dict(label2id) != dict(config.label2id or {}):
        if label2id.keys() != (config.label2id or {}).keys():
            raise InputError(
                f"{source}: its labels are {', '.join(config.label2id or ['none'])}, but {', '.join(label2id)} are wanted"
            )
        order = [config.label2id[label] for label in sorted(label2id, key=label2id.get)]
        config = dataclasses.replace(config, label2id=dict(label2id))
    model = BiLstmModel(config, dtype=dtype)
    for name, variable in _variables(model).items():
        if name not in found or found[name].shape != tuple(variable.shape):
            given = f"has shape {found[name].shape}" if name in found else "is missing"
            raise InputError(f"{source}: {name} {given}, but config.json says {tuple(variable.shape)}")
        check_numbers(source, name, found[name])
        value = as_float32(found[name])
        variable.assign(value[..., order] if order and name.startswith("classifier.") else value)
    return model


def _variables(model: BiLstmModel) -> dict:
    """The network's variables by name. The gates of an LSTM stand side by side: input, forget, cell, output."""
    named = {"word_embeddings.weight": model.word_embeddings.embeddings}
    for direction, layer in (("forward", model.lstm.forward_layer), ("backward", model.lstm.backward_layer)):
        for part in ("kernel", "recurrent_kernel", "bias"):
            named[f"lstm.{direction}.{part}"] = getattr(layer.cell, part)
    for name, layer in (("hidden", model.hidden_layer), ("classifier", model.head_layer)):
        named |= {f"{name}.kernel": layer.kernel, f"{name}.bias": layer.bias}
    return named
