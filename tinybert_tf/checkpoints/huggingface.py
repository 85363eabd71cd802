"""Model directories: the native format, which is Hugging Face's (config.json, vocab.txt, model.safetensors)."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors
import safetensors.numpy

from tinybert_tf.bert import BertConfig, BertModel, BiLstmModel, whole_network
from tinybert_tf.checkpoints import bilstm, families, kerashub, names
from tinybert_tf.checkpoints.torch_pickle import read_torch_checkpoint
from tinybert_tf.checkpoints.weights import Checkpoint, as_float32, collect
from tinybert_tf.checkpoints.word_codes import write_codes
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, read_json_object, system_error, write_json
from tinybert_tf.presets import locate
from tinybert_tf.tokenizer_files import has_vocabulary, open_vocabulary
from tinybert_tf.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}
# In the order in which they are looked for; an index lists the files that the tensors are in.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Types of numbers, as safetensors calls them, that NumPy has (BF16 by ml_dtypes).
_DTYPES = (
    *("F64", "F32", "F16", "BF16", "C64", "BOOL"),
    *("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"),
)
_HOLDS = "a model directory holds config.json, vocab.txt and model.safetensors"
# Some publishers round the embedding table up to a multiple of one of these for the GPU, without changing vocab.txt.
_TABLE_ROWS = (8, 16, 32, 64, 128)


class HasVocabulary(Protocol):
    """A `Tokenizer`, which this room does not import."""

    spec: Vocabulary


TokenizerSource = str | Path | Vocabulary | HasVocabulary


def read_config(directory: Path) -> tuple[BertConfig, str]:
    """Reads `config.json`; returns the configuration and the head that the directory was saved with.

    Raises:
        InputError: no such directory or file, or a network of an unknown family.
    """
    _, config, head = _read_config(directory, _vocabulary_in(directory))
    return config, head


def _vocabulary_in(directory: Path) -> Vocabulary | None:
    return open_vocabulary(directory) if has_vocabulary(directory) else None


def _read_config(directory: Path, vocabulary: Vocabulary | None) -> tuple[families.Family, BertConfig, str]:
    if not directory.is_dir():
        raise InputError(f"{directory}: no such model directory")
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: missing; {_HOLDS}")
    values = read_json_object(path)
    try:
        family = families.family_of(values)
        config = families.config_from(family, values, vocabulary)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from None
    head = family.head_of(values.get("architectures"))
    if head == "masked_lm" and values.get("tie_word_embeddings") is False:
        raise InputError(
            f"{path}: tie_word_embeddings=False: a decoder apart from the word embeddings is not supported"
        )
    if head == "classification" and values.get("problem_type") == "regression" and config.num_labels > 1:
        raise InputError(
            f"{path}: problem_type='regression' with {config.num_labels} outputs: only one score is supported"
        )
    if head in ("classification", "token_classification") and not config.label2id:
        config = config.replace(label2id={"LABEL_0": 0, "LABEL_1": 1})  # transformers' default
    if head == "classification" and (values.get("problem_type") == "regression" or config.num_labels == 1):
        head, config = "regression", config.replace(label2id=None)
    return family, config, head


def read(directory: str | Path) -> Checkpoint:
    """Reads a model directory, its vocabulary checked against its configuration."""
    directory = Path(directory)
    vocabulary = _vocabulary_in(directory)
    family, config, head = _read_config(directory, vocabulary)
    if vocabulary is not None:
        _check_vocabulary(vocabulary, config.vocab_size, "config.json says")
    path, tensors = read_tensors(directory, family.prefix)
    try:
        tensors = families.tensors_from(family, tensors, vocabulary)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Checkpoint(str(path), config, head, tensors)


def read_tensors(directory: str | Path, prefix: str = "bert.") -> tuple[Path, dict[str, np.ndarray]]:
    """All tensors of a directory as NumPy arrays under their canonical names, and the file they came from.

    Args:
        directory: of config.json and weights.
        prefix: what the encoder's names begin with in a family of networks.

    Raises:
        InputError: no weights, or a file that is truncated or not safe to read.
    """
    directory = Path(directory)
    found = [directory / name for name in WEIGHT_FILES if (directory / name).is_file()]
    if not found:
        raise InputError(
            f"{directory / WEIGHT_FILES[0]}: missing, and there is no pytorch_model.bin either; {_HOLDS} "
            "(other weights: convert them with transformers' save_pretrained)"
        )
    path = found[0]
    tensors = _read_shards(path) if path.suffix == ".json" else _read_file(path)
    return path, {name: as_float32(value) for name, value in names.canonical(tensors, prefix).items()}


def _read_file(path: Path) -> dict[str, np.ndarray]:
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch_checkpoint(path)


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors that an index lists, from the files beside it."""
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise InputError(f"{index}: has no weight_map of file names; fetch it again")
    kind = index.name.removesuffix(".index.json").rpartition(".")[2]
    tensors: dict[str, np.ndarray] = {}
    for file in sorted(set(weight_map.values())):
        if not re.fullmatch(rf"[\w.-]+\.{kind}", file):
            raise InputError(f"{index}: {file!r} is no name of a .{kind} file beside it")
        if not (index.parent / file).is_file():
            raise InputError(f"{index.parent / file}: missing; {index.name} lists it: fetch all parts of the model")
        tensors |= _read_file(index.parent / file)
    if lacking := weight_map.keys() - tensors.keys():
        raise InputError(
            f"{index}: lists {len(lacking)} tensors that no file has, such as {min(lacking)}; fetch it again"
        )
    return tensors


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of one file.

    Raises:
        InputError: the file is truncated or something else.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _tensor(file, name, path) for name in file.keys()}  # noqa: SIM118
    except InputError:
        raise
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        if reason := system_error(error):
            raise InputError(f"{path}: cannot be read: {reason}; see to the disk or the file's permissions") from None
        raise InputError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from None


def _tensor(file: safetensors.safe_open, name: str, path: Path) -> np.ndarray:
    if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:  # the reader would fail in NumPy
        raise InputError(
            f"{path}: tensor {name} holds {dtype}, which is not read here; take the model's float weights (F32, F16, BF16)"
        )
    return file.get_tensor(name)


def _check_vocabulary(vocabulary: Vocabulary, vocab_size: int, whose: str) -> None:
    words = len(vocabulary.file_words or vocabulary.words)
    rows = vocab_size + words - len(vocabulary.words)  # of the file
    padded = any(rows % multiple == 0 and 0 < rows - words < multiple for multiple in _TABLE_ROWS)
    if words != rows and not padded:
        raise InputError(
            f"{vocabulary.source}: {words} words, but {whose} vocab_size={rows}; put the vocabulary "
            "beside the weights that it belongs to, and added tokens into added_tokens.json"
        )


def save_model(
    model: BertModel | BiLstmModel, directory: str | Path, tokenizer_from: TokenizerSource | None = None
) -> None:
    """Writes a model directory that `transformers` and `keras_hub` open, whole or not at all.

    ```python
    tb.save_model(student, "tinybert", tokenizer_from="runs/teacher/model")
    ```

    Args:
        model: the network; weights are stored as float32. A BiLSTM's directory is opened by `load_model` alone.
        directory: replaced if it is a model directory.
        tokenizer_from: what the vocabulary beside the weights is from: a directory (it may be `directory` itself) or KerasHub
            preset, a `Tokenizer`, or its `spec`.

    Raises:
        InputError: `directory` is something else, `tokenizer_from` has no vocabulary or another one than the model, or the
            model has a weight that is NaN or infinite, or a LoRA.
    """
    model = whole_network(model)
    if not isinstance(model, BertModel | BiLstmModel):
        kind = type(model).__name__
        raise InputError(f"is a {kind}; give a BertModel, of a Distiller its `student`", "model")
    directory = Path(directory).resolve()
    check_replaceable(directory)
    vocabulary = None if tokenizer_from is None else vocabulary_of(tokenizer_from)
    if vocabulary is not None:
        _check_vocabulary(vocabulary, model.config.vocab_size, "the model has")
    elif has_vocabulary(directory):
        logger.warning(
            "%s: its vocabulary goes with the model that is replaced; give it as `tokenizer_from`", directory
        )
    if isinstance(model, BiLstmModel):
        family, tensors, config = families.FAMILIES["bert"], bilstm.tensors(model), bilstm.config_json(model)
    else:
        family = families.FAMILIES[model.config.model_type]
        tensors = families.tensors_to(family, collect(model), model.head, vocabulary)
        config = _config_json(family, model, vocabulary)
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    with atomic_write(directory) as aside:
        aside.mkdir()
        safetensors.numpy.save_file(tensors, aside / "model.safetensors", metadata={"format": "pt"})
        write_json(aside / "config.json", config)
        if isinstance(model, BertModel):
            write_codes(model, aside)
        if vocabulary is not None:
            families.write_vocabulary(family, vocabulary, aside, model.config.max_position_embeddings)


def check_replaceable(directory: Path) -> None:
    """Raises InputError where a model directory is to be written and something else stands."""
    is_model, is_empty = (directory / "config.json").is_file(), directory.is_dir() and not any(directory.iterdir())
    if os.path.ismount(directory):
        raise InputError(f"{directory}: is a mounted disk, which cannot be replaced as a whole; name a folder in it")
    if directory.exists() and not is_model and not is_empty:
        raise InputError(f"{directory}: exists and is not a model directory, so it is not replaced; name another one")


def _config_json(family: families.Family, model: BertModel, vocabulary: Vocabulary | None) -> dict:
    values = {"architectures": [family.architecture(model.head)]}
    values |= families.config_to(family, model.config, vocabulary)
    labels: Mapping[str, int] | None = values.pop("label2id")
    if model.head == "regression":
        labels = {"LABEL_0": 0}
    if model.head in ("classification", "regression", "token_classification"):
        values["label2id"] = labels
        values["id2label"] = {str(index): label for label, index in labels.items()}
    if model.head in _PROBLEM_TYPES:
        values["problem_type"] = _PROBLEM_TYPES[model.head]
    return values


def vocabulary_of(source: TokenizerSource) -> Vocabulary:
    """The vocabulary of a directory, a KerasHub preset, a tokenizer, or itself.

    Raises:
        InputError: something else, or no vocabulary there.
    """
    source = getattr(source, "spec", source)
    if isinstance(source, Vocabulary):
        return source
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"is a {type(source).__name__}; give a directory, a Tokenizer or its `spec`", "tokenizer_from")
    source = locate(source) or source
    if has_vocabulary(source) or (Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file()):
        return open_vocabulary(source)
    words, lower_case = kerashub.read_vocabulary(source)
    return Vocabulary(str(source), tuple(words), lower_case, lower_case)
