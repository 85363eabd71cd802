"""From a checkpoint's tensors to a network's variables and back, for every format."""

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np

from tinybert_tf.bert import BertConfig, BertModel, BiLstmModel
from tinybert_tf.checkpoints import names
from tinybert_tf.errors import InputError

# NumPy, and so safetensors, has bfloat16 because of this package.
_FLOATS = tuple(map(np.dtype, (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The common form of all formats.

    Attributes:
        source: the file, for messages.
        config: the network's sizes and labels.
        head: the head that it was saved with.
        tensors: weights by Hugging Face name, in their layout, with the `bert.` prefix.
    """

    source: str
    config: BertConfig
    head: str
    tensors: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Tensors that only the file or only the network has, by Hugging Face name."""

    missing: tuple[str, ...]
    unused: tuple[str, ...]


def fill(model: BertModel, tensors: dict[str, np.ndarray], source: str, skip: tuple[str, ...] = ()) -> LoadReport:
    """Assigns `tensors` to the variables of `model`; those whose names start with one of `skip` are unchanged.

    Nothing is assigned unless everything fits.

    Raises:
        InputError: a tensor of the encoder is missing, or one has another shape, integers, or NaN or infinity.
    """
    modules = names.our_modules(model.head)
    found, missing = [], []
    for variable in model.weights:
        name = names.translate(variable.path, modules)
        if name in tensors and not name.startswith(skip):
            transposed = variable.path.endswith("/kernel")
            shape = tuple(variable.shape)
            names.check_shape(source, name, tensors[name].shape, shape[::-1] if transposed else shape)
            check_numbers(source, name, tensors[name])
            found.append((variable, name, transposed))
        elif names.is_encoder(name):
            raise InputError(
                f"{source}: tensor {name} is missing; the configuration describes another network "
                f"(num_hidden_layers={model.config.num_hidden_layers}) or the file is incomplete"
            )
        else:
            missing.append(name)
    for variable, name, transposed in found:
        variable.assign(tensors[name].T if transposed else tensors[name])
    unused = tensors.keys() - {name for _, name, _ in found}
    return LoadReport(tuple(missing), tuple(sorted(unused)))


def as_float32(values: np.ndarray) -> np.ndarray:
    """Floats of 16 to 64 bits as float32; others as they are."""
    return values.astype(np.float32, copy=False) if values.dtype in _FLOATS else values


def check_numbers(source: str | Path, name: str, values: np.ndarray) -> None:
    """Raises InputError for a tensor of weights that are no floats of 16 to 64 bits, or are NaN or infinity."""
    if values.dtype not in _FLOATS:
        raise InputError(
            f"{source}: tensor {name} holds {values.dtype}, so the weights are quantized, which is not supported; take the "
            "model's float weights"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{source}: tensor {name} holds NaN or infinity; take weights from before its training went wrong"
        )


def collect(model: BertModel) -> dict[str, np.ndarray]:
    """The weights of `model` as float32, by Hugging Face name; the inverse of `fill`.

    Raises:
        InputError: see `arrays_of`.
    """
    return names.to_hugging_face(arrays_of(model).items(), names.our_modules(model.head))


def arrays_of(model: BertModel) -> dict[str, np.ndarray]:
    """The weights of `model` as float32, by path, for a file.

    Raises:
        InputError: a weight is NaN, infinity or an integer, or a layer computes with a LoRA beside its kernel.
    """
    arrays = {}
    for variable in model.weights:
        layer, _, leaf = variable.path.rpartition("/")
        if leaf.startswith("lora_"):
            raise InputError(
                f"{describe(model)}: layer {layer} has a LoRA, which files have no place for; give `copy.deepcopy(model)`, "
                "in which Keras has added it to the kernel"
            )
        values = variable.numpy()
        check_numbers(describe(model), variable.path, values)
        arrays[variable.path] = as_float32(values)
    return arrays


def describe(model: BertModel | BiLstmModel) -> str:
    """A network in memory as the source of its weights, for messages."""
    return f"the model {model.name!r}"
