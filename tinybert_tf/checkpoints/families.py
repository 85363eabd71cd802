"""The families of networks: names, numbering and layout of each family's files in terms of BERT's.

A table maps BERT's modules to the family's, where they differ by more than the first word; `{}` is the layer number.
Everything else in this library sees BERT's names and BERT's order of words.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinybert_tf.bert import BertConfig
from tinybert_tf.checkpoints.names import rows_of
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import Vocabulary
from tinybert_tf.word_order import MPNET_SPECIAL_TOKENS, bert_order, mpnet_order

_HEADS = {
    "Model": "encoder",
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "span",
    "ForMaskedLM": "masked_lm",
}
_SUFFIXES = {head: suffix for suffix, head in _HEADS.items()} | {"regression": "ForSequenceClassification"}
_READS_FIRST_TOKEN = ("classification", "regression")

_LAYER_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_LAYER = "bert.encoder.layer.{}"
_WITHOUT_TYPES = ("input_ids", "attention_mask")
# Buffers, and copies of tied weights.
_REDUNDANT = {
    "bert.embeddings.position_ids",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "cls.predictions.weight",
}
_WORDS, _POSITIONS = (f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position"))


@dataclasses.dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: of its classes in transformers, before `ForSequenceClassification`.
        prefix: of its encoder's tensors.
        modules: BERT's module -> the family's.
        classifier: the same for the two dense layers of a text classifier, whose names differ from other heads'.
        keys: BERT's key in config.json -> the family's.
        defaults: what a key in BERT's terms is where config.json does not say.
        first_position: the row of the position table at which positions begin.
        order: gives the words of a file in the family's order, and their rows, from those in BERT's; None: the same.
        special_ids: the special tokens' ids in that order, as config.json has them.
        inputs: of its models in transformers.
    """

    name: str
    prefix: str
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    classifier: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    first_position: int = 0
    order: Callable[[Sequence[str]], tuple[list[str], list[int]]] | None = None
    special_ids: Mapping[str, int] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] | None = None

    def head_of(self, architectures: Any) -> str:
        """The head that config.json's `architectures` names; "encoder" where it names none."""
        names = [architectures] if isinstance(architectures, str) else architectures
        first = str(names[0]) if names and isinstance(names, list) else ""
        first = first.removeprefix("TF").removeprefix("Flax")  # transformers' other frameworks wrote the same files
        if first == "BertForPreTraining":
            return "masked_lm"
        return _HEADS.get(first.removeprefix(self.name), "encoder")

    def architecture(self, head: str) -> str:
        return self.name + _SUFFIXES[head]


FAMILIES: dict[str, Family] = {
    "bert": Family("Bert", "bert."),
    "mpnet": Family(
        "MPNet",
        "mpnet.",
        {
            f"{_LAYER}.attention.self.query": "mpnet.encoder.layer.{}.attention.attn.q",
            f"{_LAYER}.attention.self.key": "mpnet.encoder.layer.{}.attention.attn.k",
            f"{_LAYER}.attention.self.value": "mpnet.encoder.layer.{}.attention.attn.v",
            f"{_LAYER}.attention.output.dense": "mpnet.encoder.layer.{}.attention.attn.o",
            f"{_LAYER}.attention.output.LayerNorm": "mpnet.encoder.layer.{}.attention.LayerNorm",
            "cls.predictions.transform.dense": "lm_head.dense",
            "cls.predictions.transform.LayerNorm": "lm_head.layer_norm",
            "cls.predictions.decoder": "lm_head.decoder",
            "cls.predictions": "lm_head",
        },
        {"bert.pooler.dense": "classifier.dense", "classifier": "classifier.out_proj"},
        defaults={"relative_attention_num_buckets": 32, "type_vocab_size": 0, "max_position_embeddings": 512},
        first_position=2,
        order=mpnet_order,
        special_ids={"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2},
        inputs=_WITHOUT_TYPES,
    ),
    "electra": Family(
        "Electra",
        "electra.",
        {
            "cls.predictions.transform.dense": "generator_predictions.dense",
            "cls.predictions.transform.LayerNorm": "generator_predictions.LayerNorm",
            "cls.predictions": "generator_lm_head",
        },
        {"bert.pooler.dense": "classifier.dense", "classifier": "classifier.out_proj"},
        defaults={"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    ),
    "distilbert": Family(
        "DistilBert",
        "distilbert.",
        {
            f"{_LAYER}.attention.self.query": "distilbert.transformer.layer.{}.attention.q_lin",
            f"{_LAYER}.attention.self.key": "distilbert.transformer.layer.{}.attention.k_lin",
            f"{_LAYER}.attention.self.value": "distilbert.transformer.layer.{}.attention.v_lin",
            f"{_LAYER}.attention.output.dense": "distilbert.transformer.layer.{}.attention.out_lin",
            f"{_LAYER}.attention.output.LayerNorm": "distilbert.transformer.layer.{}.sa_layer_norm",
            f"{_LAYER}.intermediate.dense": "distilbert.transformer.layer.{}.ffn.lin1",
            f"{_LAYER}.output.dense": "distilbert.transformer.layer.{}.ffn.lin2",
            f"{_LAYER}.output.LayerNorm": "distilbert.transformer.layer.{}.output_layer_norm",
            "cls.predictions.transform.dense": "vocab_transform",
            "cls.predictions.transform.LayerNorm": "vocab_layer_norm",
            "cls.predictions": "vocab_projector",
        },
        {"bert.pooler.dense": "pre_classifier"},
        keys={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            "classifier_dropout": "seq_classif_dropout",
        },
        defaults={"num_hidden_layers": 6, "type_vocab_size": 0, "classifier_dropout": 0.2},
        inputs=_WITHOUT_TYPES,
    ),
}

# Why other networks are not read. "What to take instead" is the same for all.
_OTHER_TOKENIZER = "it splits texts by {}, which the tokenizers of phones do not have"
_REFUSED = {
    **dict.fromkeys(
        ("roberta", "modernbert", "gpt2", "longformer"), _OTHER_TOKENIZER.format("byte-level BPE, not WordPiece")
    ),
    **dict.fromkeys(
        ("albert", "camembert", "xlm-roberta", "xlnet", "deberta-v2"),
        _OTHER_TOKENIZER.format("SentencePiece, not WordPiece"),
    ),
    "deberta": "its attention takes positions apart from words, and it splits texts by byte-level BPE",
    "mobilebert": "its layers have bottlenecks, which a student of this library does not have",
}


def family_of(values: Mapping[str, Any]) -> Family:
    """The family of a parsed config.json.

    Raises:
        InputError: one that is not known.
    """
    model_type = values.get("model_type", "bert")
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    reason = _REFUSED.get(model_type if isinstance(model_type, str) else "", "its architecture is not known here")
    raise InputError(
        f"model_type={model_type!r}: {reason}; take a teacher whose model_type is one of {', '.join(map(repr, FAMILIES))}"
    )


# === Files -> network ===


def config_from(family: Family, values: Mapping[str, Any], vocabulary: Vocabulary | None) -> BertConfig:
    """The configuration in BERT's terms, from a parsed config.json and the vocabulary beside it."""
    own = {own: key for key, own in family.keys.items()}
    values = dict(family.defaults) | {own.get(key, key): value for key, value in values.items()}
    for key in ("type_vocab_size", "relative_attention_num_buckets"):
        if not family.defaults.get(key, True):
            values[key] = 0  # these networks have none, whatever config.json says
    if family.first_position and "max_position_embeddings" in values:
        values["max_position_embeddings"] = _number(values, "max_position_embeddings", 0) - family.first_position
    if values.get("embedding_size") == values.get("hidden_size") or family.name != "Electra":
        values["embedding_size"] = None
    if vocabulary is not None and vocabulary.file_words:
        rows = len(vocabulary.file_words)
        values["vocab_size"] = _number(values, "vocab_size", rows) - rows + len(vocabulary.words)
        values["pad_token_id"] = vocabulary.ids["[PAD]"]
    return BertConfig.from_dict(values)


def _number(values: Mapping[str, Any], key: str, default: int) -> int:
    value = values.get(key, default)
    if type(value) is not int:
        raise InputError(f"{key}={value!r}: must be an integer")
    return value


def tensors_from(
    family: Family, tensors: Mapping[str, np.ndarray], vocabulary: Vocabulary | None
) -> dict[str, np.ndarray]:
    """A file's tensors under BERT's names, with the rows that this library's network has."""
    modules = {own: bert for bert, own in (family.modules | family.classifier).items()}
    renamed = {}
    # The classifier's own layers come last and replace a pooler that it does not read.
    for name in sorted(tensors, key=lambda name: name.startswith("classifier.")):
        renamed[_renamed(name, modules, family.prefix, "bert.")] = tensors[name]
    for name in _REDUNDANT & renamed.keys():
        del renamed[name]
    if _POSITIONS in renamed and rows_of(renamed[_POSITIONS]):
        renamed[_POSITIONS] = renamed[_POSITIONS][family.first_position :]
    if vocabulary is not None and (words := vocabulary.file_words):
        for name in {_WORDS, "cls.predictions.bias"} & renamed.keys():
            table = renamed[name]
            if rows_of(table) < len(words):
                raise InputError(f"{name} has {rows_of(table)} rows, but {vocabulary.source} {len(words)} words")
            renamed[name] = table[[*bert_order(words)[1], *range(len(words), len(table))]]
    return renamed


# === Network -> files ===


def config_to(family: Family, config: BertConfig, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """The inverse of `config_from`."""
    values = config.to_dict()
    values["max_position_embeddings"] += family.first_position
    if family.order and vocabulary is not None:
        words = vocabulary.words
        values["vocab_size"] += len(family.order(words)[0]) - len(words)
        values |= family.special_ids
    values["embedding_size"] = config.embedding_width if family.name == "Electra" else None
    # Without settings that the family does not have.
    for key in ("relative_attention_num_buckets", "type_vocab_size", "embedding_size", "classifier_activation"):
        if not values[key]:
            del values[key]
    return {family.keys.get(key, key): value for key, value in values.items()}


def tensors_to(
    family: Family, tensors: Mapping[str, np.ndarray], head: str, vocabulary: Vocabulary | None
) -> dict[str, np.ndarray]:
    """The inverse of `tensors_from`, for a network with this head."""
    modules = family.modules | (family.classifier if head in _READS_FIRST_TOKEN else {})
    tensors = dict(tensors)
    table = tensors[_POSITIONS]
    tensors[_POSITIONS] = np.concatenate([np.zeros_like(table, shape=(family.first_position, table.shape[1])), table])
    if family.order and vocabulary is not None:
        words = vocabulary.words
        if len(words) > len(tensors[_WORDS]):
            raise InputError(f"{vocabulary.source}: {len(words)} words, but the model has {len(tensors[_WORDS])}")
        rows = family.order(words)[1]
        for name in {_WORDS, "cls.predictions.bias"} & tensors.keys():
            tensors[name] = tensors[name][[*rows, *range(len(words), len(tensors[name]))]]
    bare = family.prefix if head == "encoder" else ""
    return {
        _renamed(name, modules, "bert.", family.prefix).removeprefix(bare): value for name, value in tensors.items()
    }


def write_vocabulary(family: Family, vocabulary: Vocabulary, directory: Path, max_length: int) -> None:
    """Writes vocab.txt and tokenizer_config.json in the family's order and with its special tokens.

    The tokenizer's class is BERT's in all families: MPNet's puts two separators between the texts of a pair, but networks
    of this library are trained with one.
    """
    settings: dict[str, Any] = {}
    if family.order:
        vocabulary = dataclasses.replace(vocabulary, words=tuple(family.order(vocabulary.words)[0]))
        settings |= MPNET_SPECIAL_TOKENS
    if family.inputs:
        settings["model_input_names"] = list(family.inputs)
    vocabulary.write(directory, max_length, **settings)


def _renamed(name: str, modules: Mapping[str, str], prefix: str, other_prefix: str) -> str:
    """A tensor's name by the table, else with the other prefix."""
    module, _, leaf = name.rpartition(".")
    numbers = re.findall(_LAYER_NUMBER, module)
    if pattern := modules.get(re.sub(_LAYER_NUMBER, "{}", module)):
        return f"{pattern.format(*numbers)}.{leaf}"
    return other_prefix + name.removeprefix(prefix) if name.startswith(prefix) else name
