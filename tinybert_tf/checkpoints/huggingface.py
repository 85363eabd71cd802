"""Model directories: the native format, which is Hugging Face's (config.json, vocab.txt, model.safetensors)."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from tinybert_tf.bert import BertConfig, BertModel, build_model
from tinybert_tf.checkpoints import names
from tinybert_tf.checkpoints.torch_pickle import read_torch_checkpoint
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json, write_json, written_aside

logger = logging.getLogger(__name__)

_ARCHITECTURES = {
    "encoder": "BertModel",
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "span": "BertForQuestionAnswering",
    "masked_lm": "BertForMaskedLM",
}
_PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}
_CONVERT = "convert it where PyTorch is installed: transformers' save_pretrained(..., safe_serialization=True)"
# Buffers and tied copies that carry nothing of their own.
_IGNORED = ("bert.embeddings.position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a file and a network did not share, by Hugging Face tensor name."""

    missing: tuple[str, ...]
    unused: tuple[str, ...]


def read_config(directory: str | Path) -> tuple[BertConfig, str]:
    """Reads `config.json`; returns the configuration and the head that the directory was saved with."""
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such model directory")
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: missing; a model directory holds config.json, vocab.txt and model.safetensors")
    values = read_json(path)
    try:
        config = BertConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config, _saved_head(values)


def _saved_head(values: Mapping) -> str:
    architecture = (values.get("architectures") or ["BertModel"])[0]
    if architecture == "BertForPreTraining":
        return "masked_lm"
    if architecture == "BertForSequenceClassification":
        labels = values.get("id2label") or values.get("label2id") or {0: "", 1: ""}
        is_regression = values.get("problem_type") == "regression" or len(labels) == 1
        return "regression" if is_regression else "classification"
    return next((head for head, name in _ARCHITECTURES.items() if name == architecture), "encoder")


def read_tensors(directory: str | Path) -> tuple[Path, dict[str, np.ndarray]]:
    """All tensors of a directory as NumPy arrays under their canonical names, and the file they came from.

    Raises:
        InputError: no weights, sharded weights, or a file that is truncated or not safe to read.
    """
    directory = Path(directory)
    path = directory / "model.safetensors"
    if path.is_file():
        tensors = _read_safetensors(path)
    elif (directory / "pytorch_model.bin").is_file():
        path = directory / "pytorch_model.bin"
        tensors = read_torch_checkpoint(path)
    else:
        raise InputError(f"{path}: missing, and there is no pytorch_model.bin either; {_CONVERT}")
    return path, {names.canonical(name): value for name, value in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _as_float32(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from None


def _as_float32(value: np.ndarray) -> np.ndarray:
    half = value.dtype in (np.float16, np.float64) or value.dtype == ml_dtypes.bfloat16
    return value.astype(np.float32) if half else value


def load_model(
    directory: str | Path,
    head: str | None = None,
    *,
    dtype: str | None = None,
    label2id: Mapping[str, int] | None = None,
    strict_head: bool = False,
) -> BertModel:
    """Builds the network of a model directory and fills it with its weights.

    What the file lacks (a pooler, a head) keeps its fresh initial values, and what the network does not use is passed
    over; both are logged by name.

    Args:
        directory: a Hugging Face BERT directory.
        head: one of `tinybert_tf.bert.HEADS`; by default the one it was saved with.
        dtype: Keras dtype policy; weights on disk are float32 whatever it is.
        label2id: names for a new head; by default those of config.json.
        strict_head: refuse a directory that lacks the weights of `head` (for evaluation and teaching).

    Raises:
        InputError: a missing or truncated file, a missing encoder tensor, or a shape that differs from config.json.
    """
    config, saved_head = read_config(directory)
    keeps_head = label2id is None or dict(label2id) == dict(config.label2id or {})
    if label2id is not None:
        config = config.replace(label2id=dict(label2id))
    _check_vocabulary(Path(directory), config)
    model = build_model(config, head or saved_head, dtype=dtype)
    report = load_weights(model, directory, skip=() if keeps_head else ("classifier",))
    if report.missing:
        if strict_head and any(not name.startswith("bert.pooler") for name in report.missing):
            raise InputError(
                f"{directory}: has no weights for its {model.head} head ({', '.join(report.missing)}); fine-tune it first"
            )
        logger.warning("%s: not in the file, freshly initialised: %s", directory, ", ".join(report.missing))
    if report.unused:
        logger.info("%s: in the file, not used: %s", directory, ", ".join(report.unused))
    return model


def _check_vocabulary(directory: Path, config: BertConfig) -> None:
    path = directory / "vocab.txt"
    if not path.is_file():
        return
    with path.open("rb") as file:
        size = sum(1 for _ in file)
    if size != config.vocab_size:
        raise InputError(
            f"{path}: {size} words, but config.json says vocab_size={config.vocab_size}; "
            "put the vocabulary beside the weights that it belongs to"
        )


def load_weights(model: BertModel, directory: str | Path, skip: tuple[str, ...] = ()) -> LoadReport:
    """Fills `model` from a directory's weights; tensors whose names start with one of `skip` are left alone."""
    path, tensors = read_tensors(directory)
    missing, used = [], set()
    for variable in model.weights:
        name = names.tensor_name(variable.path, model.head)
        if name not in tensors or name.startswith(skip or ("\0",)):
            if names.is_encoder(name):
                raise InputError(
                    f"{path}: tensor {name} is missing; config.json describes another network "
                    f"(num_hidden_layers={model.config.num_hidden_layers}) or the file is incomplete"
                )
            missing.append(name)
            continue
        used.add(name)
        flip = names.transposed(variable.path)
        names.check_shape(str(path), name, tensors[name], tuple(variable.shape)[:: -1 if flip else 1])
        variable.assign(tensors[name].T if flip else tensors[name])
    unused = tuple(sorted(set(tensors) - used - set(_IGNORED)))
    return LoadReport(tuple(missing), unused)


def save_model(model: BertModel, directory: str | Path, tokenizer_from: str | Path | None = None) -> None:
    """Writes a model directory that Hugging Face `transformers` opens, whole or not at all.

    Args:
        model: the network; weights are stored as float32.
        directory: replaced if it exists.
        tokenizer_from: the directory whose vocab.txt and tokenizer_config.json go along.
    """
    prefix = "bert." if model.head == "encoder" else ""
    tensors = {}
    for variable in model.weights:
        value = np.asarray(variable.numpy(), dtype=np.float32)
        name = names.tensor_name(variable.path, model.head).removeprefix(prefix)
        tensors[name] = np.ascontiguousarray(value.T if names.transposed(variable.path) else value)
    with written_aside(directory) as aside:
        aside.mkdir()
        safetensors.numpy.save_file(tensors, aside / "model.safetensors", metadata={"format": "pt"})
        write_json(aside / "config.json", _config_json(model))
        if tokenizer_from is not None:
            _copy_tokenizer(Path(tokenizer_from), aside)


def _config_json(model: BertModel) -> dict:
    values = {"architectures": [_ARCHITECTURES[model.head]], "model_type": "bert"} | model.config.to_dict()
    if model.head == "regression":
        values["label2id"] = {"LABEL_0": 0}
    if model.head not in ("classification", "regression", "token_classification"):
        del values["label2id"]
    else:
        values["id2label"] = {str(index): label for label, index in values["label2id"].items()}
    if model.head in _PROBLEM_TYPES:
        values["problem_type"] = _PROBLEM_TYPES[model.head]
    return values


def _copy_tokenizer(source: Path, target: Path) -> None:
    vocabulary = source / "vocab.txt"
    if not vocabulary.is_file():
        raise InputError(f"{vocabulary}: missing; a model directory holds config.json, vocab.txt and model.safetensors")
    shutil.copyfile(vocabulary, target / "vocab.txt")
    settings = source / "tokenizer_config.json"
    lower_case = read_json(settings).get("do_lower_case", True) if settings.is_file() else True
    (target / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": lower_case}, indent=2) + "\n", encoding="utf-8"
    )
