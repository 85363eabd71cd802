"""Outputs of functional Keras models by name, and the logits of any other Keras model.

An output is named as in the dict that a network returns, with an index where that is a list:

| name | shape | of a |
|---|---|---|
| `logits` | [B, C], or as the head gives them | any model: the output of that name, or its only one |
| `hidden_states/0` (embeddings), ... | [B, S, D] | `BertModel` |
| `attention_logits/0` (first layer), ... | [B, H, S, S] | `BertModel` |
| `attention_probabilities/0`, ... | [B, H, S, S] | `BertModel` |
| `queries/0`, `keys/0`, `values/0`, ... | [B, S, D], all heads, not scaled | `BertModel` |
| `sequence_output`, `pooled_output` | [B, S, D], [B, D] | `BertModel` |
| a key of the output dict, or the name of a layer | | any functional model |

Indices count from 0, negative ones from the end.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tinybert_tf.bert import BertModel, BiLstmModel
from tinybert_tf.errors import InputError

# Features with this prefix are precomputed outputs of the teacher, by name; the teacher is then not run.
TEACHER = "teacher/"
# KerasHub's names of BERT's inputs.
KERASHUB_INPUTS = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
_OTHER_NAMES = KERASHUB_INPUTS | {other: name for name, other in KERASHUB_INPUTS.items()}
# What `keras.ops.softmax` and `keras.ops.sigmoid` add to a functional model.
_SOFTMAX = type(ops.softmax(keras.KerasTensor((1, 2)))._keras_history.operation)
_SIGMOID = type(ops.sigmoid(keras.KerasTensor((1, 2)))._keras_history.operation)
_PROJECTIONS = {"queries": "query", "keys": "key", "values": "value"}


def is_functional(model: keras.Model) -> bool:
    """Whether a model is functional, so that outputs of its layers can be read."""
    return bool(getattr(model, "inputs", None)) and bool(getattr(model, "outputs", None))


def input_of(model: keras.Model) -> Any:
    """The symbolic inputs of a functional model; a `keras.Sequential` has them in its list alone."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def output_of(model: keras.Model) -> Any:
    """The symbolic outputs of a functional model, as `input_of`."""
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def canonical(name: str, network: keras.Model) -> str:
    """One name for each output of a `BertModel`: indices from 0, and `sequence_output` as the last hidden state."""
    if not isinstance(network, BertModel):
        return name
    depth = network.config.num_hidden_layers
    key, _, index = name.partition("/")
    if key == "sequence_output":
        return f"hidden_states/{depth}"
    if not re.fullmatch(r"-\d+", index):
        return name
    return f"{key}/{int(index) + depth + (key == 'hidden_states')}"


def output(model: keras.Model, name: str, as_logits: bool = True) -> Any:
    """The symbolic tensor of a functional model by its name; see the table above.

    Args:
        model: the network.
        name: of the output.
        as_logits: whether probabilities by the name of `logits` are turned into logits.

    Raises:
        InputError: the model has no such output.
    """
    key, _, index = name.partition("/")
    try:
        if isinstance(model, BertModel) and key in _PROJECTIONS:
            layer = model.transformer_layers[int(index)]
            return getattr(layer.attention, _PROJECTIONS[key])(model.output["hidden_states"][:-1][int(index)])
        if isinstance(model, BertModel) and key == "attention_probabilities":
            return ops.softmax(model.output["attention_logits"][int(index)])
        whole = output_of(model)
        if isinstance(whole, Mapping) and key in whole:
            found = whole[key]
        elif key == "logits" and len(model.outputs) == 1:
            found = model.outputs[0]
        else:
            found = model.get_layer(key).output
        found = found[int(index)] if index else found
    except (IndexError, ValueError, AttributeError, TypeError):
        raise InputError(f"{describe(model)} has no output {name!r}; {_what_it_has(model)}") from None
    return _as_logits(found) if key == "logits" and as_logits else found


def _as_logits(tensor):
    """The logarithm of probabilities, which is logits up to a constant that no softmax sees; logits as they are."""
    operation = _last_operation(tensor)
    ends_in_softmax = isinstance(operation, keras.layers.Softmax | _SOFTMAX)
    ends_in_softmax |= getattr(operation, "activation", None) is keras.activations.softmax
    return ops.log(ops.maximum(tensor, keras.config.epsilon())) if ends_in_softmax else tensor


def ends_in_sigmoid(model: keras.Model) -> bool:
    """Whether a functional model's logits are values of a sigmoid."""
    if not is_functional(model):
        return False
    operation = _last_operation(output(model, "logits", as_logits=False))
    return isinstance(operation, _SIGMOID) or getattr(operation, "activation", None) is keras.activations.sigmoid


def _last_operation(tensor) -> Any:
    """The operation that made a tensor; of a model inside a model, that which made its output."""
    operation, _, index = tensor._keras_history
    while isinstance(operation, keras.Model) and is_functional(operation):
        operation, _, index = operation.outputs[index]._keras_history
    return operation


def describe(model: keras.Model) -> str:
    """A model's description for messages."""
    head = f" with the head {model.head!r}" if isinstance(model, BertModel) else ""
    return f"the model {model.name!r} ({type(model).__name__}{head})"


def _what_it_has(model: keras.Model) -> str:
    if isinstance(model, BertModel):
        count, task = (
            model.config.num_hidden_layers,
            ", logits" if "logits" in model.output else "; load it with a task head",
        )
        return f"it has {count} layers, hidden_states/0 to hidden_states/{count}{task}"
    if isinstance(found := output_of(model), Mapping):
        return f"it has {', '.join(map(str, found))}"
    return f"its layers are {', '.join(layer.name for layer in model.layers)}"


@dataclasses.dataclass(frozen=True)
class Reader:
    """A network reduced to the outputs that are read: layers that none of them depends on are not computed.

    A plain object and not an attribute that Keras tracks: what is read shares its layers with the network.

    Attributes:
        network: the whole network.
        names: of the outputs.
        submodel: from the network's inputs to a dict of the outputs by name; None if the network is not functional.
    """

    network: keras.Model
    names: tuple[str, ...]
    submodel: keras.Model | None

    def __call__(self, features, training: bool = False) -> dict[str, tf.Tensor]:
        """The outputs by name."""
        if not self.names:
            return {}
        inputs = arguments(self.network, features)
        if self.submodel is not None:
            return self.submodel(inputs, training=training)
        returned = self.network(inputs, training=training)
        return {"logits": returned["logits"] if isinstance(returned, Mapping) else returned}


def reader(network: keras.Model, names: Sequence[str]) -> Reader:
    """A function (features, training) -> outputs by name.

    Args:
        network: a Keras model; one that is not functional can be read its `logits` only.
        names: of outputs.

    Raises:
        InputError: the network has no such output.
    """
    if not names:
        return Reader(network, (), None)
    if is_functional(network):
        outputs = {name: output(network, name) for name in names}
        return Reader(network, tuple(names), keras.Model(input_of(network), outputs, name=f"{network.name}_read"))
    if other := [name for name in names if name != "logits"]:
        raise InputError(
            f"{describe(network)} is not functional: only its logits can be read, not {', '.join(other)}; build it with "
            "keras.Model(inputs, outputs)"
        )
    if not network.built:
        raise InputError(f"{describe(network)} has no weights yet; call it on a batch of features first")
    return Reader(network, tuple(names), None)


def precomputed(features, teacher: Reader) -> dict[str, tf.Tensor]:
    """The outputs of a teacher that are among the features, by name.

    Args:
        features: of a batch.
        teacher: what is read of the teacher.

    Raises:
        InputError: a feature named as an output that the teacher does not have: under a wrong name it would be computed again.
    """
    if not isinstance(features, Mapping):
        return {}
    given = {name.removeprefix(TEACHER): features[name] for name in features if name.startswith(TEACHER)}
    read = {canonical(name, teacher.network): name for name in teacher.names}
    found = {read[key]: value for name, value in given.items() if (key := canonical(name, teacher.network)) in read}
    for name in given:
        if canonical(name, teacher.network) not in read and not _has_output(teacher.network, name):
            known = ", ".join(TEACHER + known for known in teacher.names) or "none"
            raise InputError(f"the feature {TEACHER}{name} is no output of the teacher; the objective reads {known}")
    return found


def arguments(network: keras.Model, features):
    """The features that a network takes as inputs, by name; TF-Models' and KerasHub's names are translated."""
    if not isinstance(features, Mapping) or not is_functional(network):
        return features
    taken = input_of(network)
    if not isinstance(taken, Mapping):
        names = [tensor.name for tensor in network.inputs]
        if not all(find_feature(features, name) is not None for name in names):
            return features
        found = [find_feature(features, name) for name in names]
        return found if isinstance(taken, list | tuple) else found[0]
    missing = [name for name in taken if find_feature(features, name) is None]
    if missing and missing[0] in features:
        raise InputError("is None; give zeros, or leave it out for a network that does not read it", missing[0])
    if missing:
        raise InputError(
            f"{describe(network)} reads {', '.join(taken)}, but the features are {', '.join(features)}; "
            f"{', '.join(missing)} is missing"
        )
    return {name: find_feature(features, name) for name in taken}


def find_feature(features: Mapping, name: str):
    """A feature by its name or KerasHub's; None where there is none."""
    return features.get(name, features.get(_OTHER_NAMES.get(name)))


def token_mask(features) -> tf.Tensor | None:
    """int32 [B, S], 1 = token, or None where the features have no mask."""
    mask = find_feature(features, "input_mask") if isinstance(features, Mapping) else None
    return None if mask is None else tf.cast(mask, tf.int32)


def head_of(network: keras.Model) -> str:
    """What a network's logits are: the head of a `BertModel`; else inferred from their shape: "regression" for [B, 1],
    "token_classification" for [B, S, C], "classification" for [B, C].
    """
    if isinstance(network, BertModel | BiLstmModel):
        return network.head
    shape = tuple(output(network, "logits").shape) if is_functional(network) else (None, None)
    if len(shape) == 3:
        return "token_classification"
    return "regression" if shape[-1] == 1 else "classification"


def label_count(network: keras.Model) -> int | None:
    """The last axis of a network's logits; None where it is not known."""
    return output(network, "logits").shape[-1] if is_functional(network) else None


def label_ids(network: keras.Model) -> dict[str, int] | None:
    """Label -> row of the logits; None where the labels have no names."""
    labels = getattr(getattr(network, "config", None), "label2id", None)
    if not isinstance(network, BertModel | BiLstmModel) or not labels:
        return None
    found = dict(labels)
    return None if all(label == f"LABEL_{index}" for label, index in found.items()) else found


def _has_output(network: keras.Model, name: str) -> bool:
    if not is_functional(network):
        return name == "logits"
    try:
        output(network, name)
    except InputError:
        return False
    return True


def width(network: keras.Model, name: str) -> int:
    """The size of the last axis of an output."""
    return output(network, name).shape[-1]
