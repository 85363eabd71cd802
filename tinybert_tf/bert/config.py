"""The settings of a BERT network, under Hugging Face's names."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from tinybert_tf.errors import InputError

# Sizes as (layers, hidden, heads, intermediate). TinyBERT: Jiao et al. 2020, section 4.2. BERT_TINY, _MINI and _SMALL:
# Turc et al. 2019, whose "small" is the 4 x 512 that TinyBERT's Table 1 calls BERT_SMALL.
NAMED_SIZES: dict[str, tuple[int, int, int, int]] = {
    "tinybert4": (4, 312, 12, 1200),
    "tinybert6": (6, 768, 12, 3072),
    "bert_tiny": (2, 128, 2, 512),
    "bert_mini": (4, 256, 4, 1024),
    "bert_small": (4, 512, 8, 2048),
    "bert_base": (12, 768, 12, 3072),
    "bert_large": (24, 1024, 16, 4096),
    "minilm_l6": (6, 384, 12, 1536),
}

_SIZE = re.compile(r"(\d+)x(\d+)x(\d+)x(\d+)")

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_RATES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "initializer_range",
    "layer_norm_eps",
)
# An upper limit on classes: `num_labels` of a damaged file may be in the billions.
_MOST_LABELS = 1_000_000
# The differences between the families. MPNet has no token types, and one table of biases by relative position, of which
# transformers uses 32 rows whatever the configuration says. ELECTRA's embeddings may be narrower than its layers.
FAMILIES: dict[str, dict[str, int | None]] = {
    "bert": {"type_vocab_size": 2, "relative_attention_num_buckets": 0, "embedding_size": None},
    "mpnet": {"type_vocab_size": 0, "relative_attention_num_buckets": 32, "embedding_size": None},
    "electra": {"type_vocab_size": 2, "relative_attention_num_buckets": 0, "embedding_size": None},
    "distilbert": {"type_vocab_size": 0, "relative_attention_num_buckets": 0, "embedding_size": None},
}
# The activation of the dense layer over the first token, which transformers treats as part of the classification head in
# all families but BERT.
_POOLER_ACTIVATIONS = {"bert": "tanh", "mpnet": "tanh", "electra": "gelu", "distilbert": "relu"}
# Aliases of the first four: Hugging Face has several names for one function.
_SAME_ACTIVATIONS = {"gelu_python": "gelu", "gelu_fast": "gelu_new"}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
# Settings that change what the network computes and that this library does not have, and the values that mean "without".
_UNSUPPORTED: dict[str, tuple] = {
    "position_embedding_type": (None, "absolute"),
    "problem_type": (None, "single_label_classification", "regression"),
    "is_decoder": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}, []),
    "quantization_config": (None, {}),
    "auto_map": (None, {}),
}


def size_of(name: str) -> tuple[int, int, int, int] | None:
    """(layers, hidden, heads, intermediate) of a named size or of one written out, as "4x312x12x1200"; else None."""
    written = _SIZE.fullmatch(name)
    return tuple(map(int, written.groups())) if written else NAMED_SIZES.get(name)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The sizes, labels and family of a BERT network. Field names are the keys of a Hugging Face `config.json`.

    >>> config = BertConfig.named("tinybert4", label2id={"no": 0, "yes": 1})
    >>> config.num_hidden_layers, config.hidden_size, config.num_labels
    (4, 312, 2)
    >>> config.replace(num_hidden_layers=6).num_hidden_layers
    6

    Attributes:
        vocab_size: rows of the word table.
        hidden_size: width D of the hidden states, a multiple of the heads.
        num_hidden_layers: number of layers.
        num_attention_heads: heads of each layer.
        intermediate_size: neurons of each feed-forward layer.
        hidden_act: "gelu" (exact, with erf), "gelu_new" or "gelu_pytorch_tanh" (the tanh form), or "relu".
        hidden_dropout_prob: dropout after the embeddings and before each residual sum.
        attention_probs_dropout_prob: dropout of the attention probabilities.
        classifier_dropout: dropout before the classifier; None: `hidden_dropout_prob`.
        max_position_embeddings: rows of the position table: the longest input in tokens.
        type_vocab_size: rows of the token type table; 0 in an MPNet or a DistilBERT.
        initializer_range: standard deviation of the initial weights.
        layer_norm_eps: epsilon of the normalizations.
        pad_token_id: id of the padding token.
        label2id: name of each class -> its id, for a classifier; None for a regressor.
        model_type: the family, one of `FAMILIES`; see `of_family`.
        relative_attention_num_buckets: buckets of an MPNet's bias by relative position (32); 0 without one.
        embedding_size: width of an ELECTRA's embeddings; None: `hidden_size`.
        classifier_activation: "relu" for a ReLU between the pooler and the classifier of a text, as in TinyBERT's published
            code, or None.

    Raises:
        InputError: sizes that do not fit each other or the family, or an unknown activation.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    label2id: Mapping[str, int] | None = None
    model_type: str = "bert"
    relative_attention_num_buckets: int = 0
    embedding_size: int | None = None
    classifier_activation: str | None = None

    def __post_init__(self):
        if self.model_type not in FAMILIES:
            raise InputError(f"model_type={self.model_type!r} is not one of {', '.join(map(repr, FAMILIES))}")
        for field in _SIZES:
            value = getattr(self, field)
            least = min(1, FAMILIES[self.model_type].get(field, 1))
            if type(value) is not int or value < least:
                raise InputError(f"{field}={value!r}: must be an integer of at least {least}")
        if self.embedding_size is not None and (type(self.embedding_size) is not int or self.embedding_size < 1):
            raise InputError(f"embedding_size={self.embedding_size!r}: must be an integer of at least 1")
        for field, own in FAMILIES[self.model_type].items():
            value = getattr(self, field)
            is_free = own if field == "type_vocab_size" else field == "embedding_size" and self.model_type == "electra"
            if not is_free and value != own:
                raise InputError(f"{field}={value!r}: model_type={self.model_type!r} has {own}")
        for field in _RATES:
            value = getattr(self, field)
            if value is None and field == "classifier_dropout":
                continue
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise InputError(f"{field}={value!r}: must be a number from 0 to below 1")
        if type(self.pad_token_id) is not int or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id={self.pad_token_id!r}: must be the id of one of {self.vocab_size} words")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}; "
                "change one of the two"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act={self.hidden_act!r} is not one of {', '.join(ACTIVATIONS)}")
        if self.classifier_activation not in (None, "relu"):
            raise InputError(f"classifier_activation={self.classifier_activation!r}: only 'relu' or none is supported")
        if self.label2id is not None:
            ids = list(self.label2id.values())
            if any(type(id) is not int for id in ids) or sorted(ids) != list(range(len(ids))):
                raise InputError(f"label2id={dict(self.label2id)}: ids must be 0 to {len(ids) - 1}, each once")

    @classmethod
    def named(cls, name: str, **overrides: Any) -> "BertConfig":
        """The configuration of a size (see `size_of`), e.g. `BertConfig.named("tinybert4", label2id={"no": 0, "yes": 1})`."""
        size = size_of(name)
        if size is None:
            raise InputError(
                f"no model size named {name!r}; there are {', '.join(NAMED_SIZES)}, and any other as "
                "LAYERSxHIDDENxHEADSxINTERMEDIATE, such as 4x312x12x1200"
            )
        layers, hidden, heads, intermediate = size
        sizes = {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": intermediate,
        }
        return cls(**(sizes | overrides))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BertConfig":
        """Reads a parsed Hugging Face `config.json`. Keys that do not shape the network are ignored.

        Raises:
            InputError: an unknown model type, or a setting that changes what the network computes and is not supported.
        """
        for key, without in _UNSUPPORTED.items():
            if values.get(key) not in without:
                supported = ", ".join(repr(value) for value in without if value)
                remedy = f"only {supported}" if supported else "this is not supported; remove it if it is not needed"
                if key == "problem_type":
                    remedy += " is supported; remove the entry to take the encoder alone"
                if key == "auto_map":
                    remedy = (
                        "the network is custom code of its publisher, which is not run; take one that transformers has"
                    )
                raise InputError(f"{key}={values[key]!r}: {remedy}")
        known = {field.name for field in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        if kept.get("pad_token_id", 0) is None:  # as transformers writes it for a model without one
            del kept["pad_token_id"]
        if isinstance(act := kept.get("hidden_act"), str):
            kept["hidden_act"] = _SAME_ACTIVATIONS.get(act, act)
        kept["label2id"] = _labels(values)
        return cls(**kept)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`: plain JSON values."""
        values = dataclasses.asdict(self)
        if self.label2id is not None:
            values["label2id"] = dict(self.label2id)
        return values

    def replace(self, **changes: Any) -> "BertConfig":
        return dataclasses.replace(self, **changes)

    def of_family(self, model_type: str) -> "BertConfig":
        """The same sizes in another family, e.g. `config.of_family("mpnet")`."""
        if model_type not in FAMILIES:
            raise InputError(f"model_type={model_type!r} is not one of {', '.join(map(repr, FAMILIES))}")
        return self if model_type == self.model_type else self.replace(model_type=model_type, **FAMILIES[model_type])

    @property
    def embedding_width(self) -> int:
        """Numbers in a row of the embedding tables."""
        return self.embedding_size or self.hidden_size

    @property
    def pooler_activation(self) -> str:
        return _POOLER_ACTIVATIONS[self.model_type]

    @property
    def attention_head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        """Outputs of a classification or regression head; 1 without named labels."""
        return len(self.label2id) if self.label2id else 1


def _labels(values: Mapping[str, Any]) -> dict[str, int] | None:
    """The classes of a parsed config.json, which has them under three keys."""
    count = values.get("num_labels") or 0
    if type(count) is not int or not 0 <= count <= _MOST_LABELS:
        raise InputError(f"num_labels={count!r}: must be an integer up to {_MOST_LABELS}")
    for key in ("label2id", "id2label"):
        if not isinstance(values.get(key) or {}, Mapping):
            raise InputError(f"{key}={values[key]!r}: must be an object, a name and an id for each class")
    by_name = {label: _as_integer(index) for label, index in (values.get("label2id") or {}).items()}
    by_id = {_class_name(label): _as_integer(index) for index, label in (values.get("id2label") or {}).items()}
    is_named = lambda labels: any(label != f"LABEL_{index}" for label, index in labels.items())
    if by_name != by_id and is_named(by_name) and is_named(by_id):
        raise InputError(f"label2id={by_name} and id2label={by_id} contradict each other; correct one of them")
    labels = by_name if is_named(by_name) or not by_id else by_id
    labels = labels or {f"LABEL_{index}": index for index in range(count)}
    if count and len(labels) != count:
        raise InputError(f"num_labels={count}, but label2id or id2label has {len(labels)} classes; correct one of them")
    return labels or None


def _class_name(label: Any) -> str:
    """The name of a class: numbers and booleans as JSON writes them where they are keys, as they are in `label2id`."""
    if not isinstance(label, str | int | float):
        raise InputError(f"id2label names a class {label!r}; give each class a text as its name")
    return label if isinstance(label, str) else json.dumps(label)


def _as_integer(index: Any) -> Any:
    """Ids are keys of JSON objects, so text, and some files have text as values as well."""
    return int(index) if isinstance(index, str) and index.isdecimal() else index


def encoder_flops(config: Any, seq_len: int) -> int:
    """Floating point operations of one pass of the encoder layers over one sequence, a multiply-add counted as 2.

    Counts the matrix products (projections, attention, feed-forward), as the paper's Table 1 does; embeddings, softmax
    and normalization are left out. `config` is a `BertConfig` or a `BiLstmConfig`.
    """
    if not isinstance(config, BertConfig):
        return config.encoder_flops(seq_len)
    projections = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    attention = 2 * seq_len * config.hidden_size
    return 2 * seq_len * config.num_hidden_layers * (projections + attention)
