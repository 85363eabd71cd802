"""Loads every supported kind of checkpoint."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from tinybert_tf.bert import BertConfig, BertModel, BiLstmConfig, BiLstmModel, build_model
from tinybert_tf.checkpoints import (
    bilstm,
    google_tf1,
    huggingface,
    kerashub,
    names,
    tf_checkpoint,
    tf_models,
    word_codes,
)
from tinybert_tf.checkpoints.weights import Checkpoint, fill
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object
from tinybert_tf.presets import PRESETS, is_hub_name, locate, resolve_directory

logger = logging.getLogger(__name__)


def read_checkpoint(directory_or_preset: str | Path) -> Checkpoint:
    """Reads a checkpoint of any known kind, which is recognized by its files.

    Raises:
        InputError: neither a directory of a known kind nor a preset, or one that cannot be read.
    """
    directory = locate(directory_or_preset)
    if directory is None:
        if str(directory_or_preset) in PRESETS or is_hub_name(directory_or_preset):
            resolve_directory(directory_or_preset, "model")  # which raises
        return kerashub.read(directory_or_preset)
    if (directory / "config.json").is_file():
        return huggingface.read(directory) if _is_native(directory) else kerashub.read(directory)
    if (directory / tf_checkpoint.CONFIG_NAME).is_file():
        prefix, config, variables = tf_checkpoint.read_variables(directory)
        kind = tf_models if tf_checkpoint.OBJECT_GRAPH in variables else google_tf1
        return kind.interpret(prefix, config, variables)
    raise InputError(
        f"{directory}: no model in it; looked for config.json (Hugging Face, KerasHub) and for bert_config.json with "
        "NAME.index (TensorFlow)"
    )


def read_config(directory: str | Path) -> tuple[BertConfig | BiLstmConfig, str]:
    """The configuration of a model directory of any known kind, and the head that it was saved with.

    Raises:
        InputError: no such directory or file, or a network of an unknown family.
    """
    directory = locate(directory) or Path(directory)
    if bilstm.is_bilstm(directory):
        return bilstm.read_config(directory)
    if _is_native(directory):
        return huggingface.read_config(directory)
    checkpoint = read_checkpoint(directory)  # others say in their weights which head they have, and how many classes
    return _with_labels(checkpoint, checkpoint.head, None)[0].config, checkpoint.head


def _is_native(directory: Path) -> bool:
    """Whether a directory is of Hugging Face's format, or of none."""
    path = directory / "config.json"
    if path.is_file():
        return "registered_name" not in read_json_object(path)
    return not (directory / tf_checkpoint.CONFIG_NAME).is_file()


def load_model(
    directory_or_preset: str | Path,
    head: str | None = None,
    *,
    dtype: str | None = None,
    label2id: Mapping[str, int] | None = None,
    strict_head: bool = False,
    classifier_activation: str | None = None,
) -> BertModel | BiLstmModel:
    """Builds the network of a checkpoint and fills it with its weights.

    What the file lacks (a pooler, a head) keeps its random initial values, and what the network does not use is
    ignored; both are logged by name.

    ```python
    teacher = tb.load_model("runs/teacher/model", dtype="bfloat16")
    encoder = tb.load_model("bert-finetuned", head="encoder")
    ```

    Args:
        directory_or_preset: a Hugging Face BERT directory; one with bert_config.json and a TensorFlow checkpoint
            (Google's or TF-Models'); a KerasHub preset, as a directory or by name; or another name that
            `tinybert_tf.presets.locate` knows. A directory of a BiLSTM gives a `BiLstmModel`.
        head: one of `tinybert_tf.bert.HEADS`; by default the one it was saved with.
        dtype: Keras dtype policy of the network; any precision on disk will do.
        label2id: the classes of a classifier, by default those that it was saved with. One that was saved with the same
            classes under other ids is put in this order, one whose classes have no names (LABEL_0, ...) takes these, and
            one for other classes is replaced by random values.
        classifier_activation: "relu" for task checkpoints of TinyBERT's published code, which has a ReLU between pooler and
            classifier; by default what config.json says.
        strict_head: refuse a checkpoint that lacks weights on which the logits depend (for evaluation and teaching).

    Returns:
        The network.

    Raises:
        InputError: a missing or truncated file, a missing encoder tensor, or a shape other than the configuration's.
    """
    directory = locate(directory_or_preset)
    if directory is not None and bilstm.is_bilstm(directory):
        return _load_bilstm(directory, head, dtype, label2id)
    checkpoint = read_checkpoint(directory_or_preset)
    head = head or checkpoint.head
    checkpoint, keeps_classifier = _with_labels(checkpoint, head, label2id)
    if classifier_activation is not None:
        config = checkpoint.config.replace(classifier_activation=classifier_activation)
        checkpoint = dataclasses.replace(checkpoint, config=config)
    names.check_sizes(checkpoint.source, checkpoint.tensors, checkpoint.config)
    model = build_model(checkpoint.config, head, dtype=dtype)
    report = fill(model, checkpoint.tensors, checkpoint.source, skip=() if keeps_classifier else ("classifier",))
    # Only heads that read the first token need the pooler; transformers saves other models without one.
    needs_pooler = head in ("classification", "regression")
    lacking = [name for name in report.missing if needs_pooler or not name.startswith("bert.pooler")]
    if strict_head and head != "encoder" and lacking:
        raise InputError(
            f"{checkpoint.source}: has no weights for a {head} head ({', '.join(lacking)}); fine-tune it first"
        )
    if report.missing:
        logger.warning(
            "%s: not in the file or not for these classes, initialized at random: %s",
            checkpoint.source,
            ", ".join(report.missing),
        )
    if report.unused:
        logger.warning("%s: in the file, not used: %s", checkpoint.source, ", ".join(report.unused))
    if directory is not None and (path := directory / word_codes.FILE_NAME).is_file():
        word_codes.restore_codes(model, huggingface.read_safetensors(path), path)
    return model


def _load_bilstm(
    directory: Path, head: str | None, dtype: str | None, label2id: Mapping[str, int] | None
) -> BiLstmModel:
    config, own = bilstm.read_config(directory)
    if head not in (None, own):
        raise InputError(f"{directory}: a BiLSTM with the head {own!r}, but {head!r} is wanted")
    path = directory / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: missing; a BiLSTM's directory holds config.json, vocab.txt and model.safetensors")
    return bilstm.build(config, huggingface.read_safetensors(path), path, dtype, label2id)


def _folded(label: str) -> str:
    return label.lower().replace("-", "_").replace(" ", "_")


def _with_labels(checkpoint: Checkpoint, head: str, label2id: Mapping[str, int] | None) -> tuple[Checkpoint, bool]:
    """The checkpoint with its classifier in the order of `label2id`, and whether it has one for these classes."""
    # A configuration that does not name a head also gives "encoder".
    keeps = checkpoint.head in (head, "encoder")
    if head not in ("classification", "token_classification"):
        return checkpoint, keeps
    tensors = checkpoint.tensors
    rows = names.rows_of(tensors["classifier.weight"]) if "classifier.weight" in tensors else 0
    nameless = {f"LABEL_{row}": row for row in range(rows)}
    saved = dict(checkpoint.config.label2id or nameless)
    wanted = dict(saved if label2id is None else label2id)
    if saved == nameless and len(wanted) == rows:
        saved = wanted
    # As `label_ids` matches names: published models often have NEGATIVE and POSITIVE.
    names_of = {_folded(label): label for label in wanted}
    if saved.keys() != wanted.keys() and len(names_of) == len(wanted) and {*map(_folded, saved)} == names_of.keys():
        saved = {names_of[_folded(label)]: row for label, row in saved.items()}
    config = checkpoint.config.replace(label2id=wanted or None)
    keeps = keeps and saved.keys() == wanted.keys()
    if keeps and saved != wanted and rows == len(saved):
        order = [saved[label] for label in sorted(wanted, key=wanted.get)]
        parts = [name for name in ("classifier.weight", "classifier.bias") if name in tensors]
        # Those of other lengths are refused where they are filled in.
        tensors = tensors | {name: tensors[name][order] for name in parts if names.rows_of(tensors[name]) == rows}
    return dataclasses.replace(checkpoint, config=config, tensors=tensors), keeps
