"""Names and layouts of weights in each kind of checkpoint, with Hugging Face's names as the common form. A table maps one
format's modules to Hugging Face's; `{}` is the layer number on both sides. What a module holds (a kernel, a bias, a table)
is translated by rule, and so is the layout: torch keeps a dense weight as [out, in].
"""

import itertools
import re
from collections.abc import Iterable, Mapping

import numpy as np

from tinybert_tf.bert import BertConfig
from tinybert_tf.errors import InputError

# The variables of this library's network.
MODULES = {
    "embeddings/word_embeddings": "bert.embeddings.word_embeddings",
    "embeddings/position_embeddings": "bert.embeddings.position_embeddings",
    "embeddings/token_type_embeddings": "bert.embeddings.token_type_embeddings",
    "embeddings/layer_norm": "bert.embeddings.LayerNorm",
    "embeddings/project": "bert.embeddings_project",
    "relative_attention_bias": "bert.encoder.relative_attention_bias",
    "layer_{}/attention/query": "bert.encoder.layer.{}.attention.self.query",
    "layer_{}/attention/key": "bert.encoder.layer.{}.attention.self.key",
    "layer_{}/attention/value": "bert.encoder.layer.{}.attention.self.value",
    "layer_{}/attention/output": "bert.encoder.layer.{}.attention.output.dense",
    "layer_{}/attention_layer_norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "layer_{}/intermediate": "bert.encoder.layer.{}.intermediate.dense",
    "layer_{}/output": "bert.encoder.layer.{}.output.dense",
    "layer_{}/output_layer_norm": "bert.encoder.layer.{}.output.LayerNorm",
    "pooler/dense": "bert.pooler.dense",
    "classifier": "classifier",
    "masked_lm/transform": "cls.predictions.transform.dense",
    "masked_lm/layer_norm": "cls.predictions.transform.LayerNorm",
    "masked_lm": "cls.predictions",
}
_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}


def our_modules(head: str) -> dict[str, str]:
    """`MODULES` for a network with this head: Hugging Face calls the classifier of answer spans `qa_outputs`."""
    return MODULES | {"classifier": "qa_outputs"} if head == "span" else MODULES


def translate(path: str, modules: Mapping[str, str]) -> str | None:
    """The Hugging Face name of the variable at `path`, or None for one that the table does not know."""
    module, _, leaf = path.rpartition("/")
    layer = re.findall(r"\d+", module)
    name = modules.get(re.sub(r"\d+", "{}", module))
    return f"{name.format(*layer)}.{_LEAVES[leaf]}" if name and leaf in _LEAVES else None


def to_hugging_face(variables: Iterable[tuple[str, np.ndarray]], modules: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Keras variables under Hugging Face's names and layouts. A variable that no table row fits keeps its own name."""
    tensors = {}
    for path, value in variables:
        name = translate(path, modules)
        if name is None:
            tensors[path] = value
            continue
        if path.endswith("/kernel") and value.ndim > 1 and value.size:
            # TF-Models and KerasHub split the heads off: [in, heads, size] going in, [heads, size, out] coming out.
            value = value.reshape(len(value), -1) if ".self." in name else value.reshape(-1, value.shape[-1])
            value = value.T
        elif name.endswith(".bias"):
            value = value.reshape(-1)
        tensors[name] = value
    return tensors


def canonical(tensors: Mapping[str, np.ndarray], prefix: str = "bert.") -> dict[str, np.ndarray]:
    """The current spelling of names of Hugging Face checkpoints of any age: with `prefix`, `LayerNorm.weight` and `.bias`."""
    renamed = {}
    for name, value in tensors.items():
        name = name.removeprefix("module.")  # left behind by torch's DataParallel
        name = re.sub(r"^(?=(embeddings|embeddings_project|encoder|transformer|pooler)\.)", prefix, name)
        name = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", name)
        name = re.sub(r"(?<=LayerNorm\.)beta$", "bias", name)
        renamed[name] = value
    return renamed


def head_of(tensors: Mapping[str, np.ndarray]) -> str:
    """The head of weights whose configuration does not name one."""
    if "classifier.weight" in tensors:
        return "classification" if rows_of(tensors["classifier.weight"]) > 1 else "regression"
    if "qa_outputs.weight" in tensors:
        return "span"
    return "masked_lm" if "cls.predictions.bias" in tensors else "encoder"


def rows_of(tensor: np.ndarray) -> int:
    """The length of the first axis; 0 of a single number, whose shape is refused where it is filled in."""
    return tensor.shape[0] if tensor.ndim else 0


def is_encoder(name: str) -> bool:
    """Whether a model is useless without this tensor; poolers and heads can be trained again."""
    return name.startswith(("bert.embeddings", "bert.encoder."))


def _config_keys(name: str) -> tuple[str, ...]:
    """The configuration key that sets each axis of a tensor."""
    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    if table := re.fullmatch(r"bert\.embeddings\.(\w+)_embeddings\.weight", name):
        return tables[table[1]], "embedding_width"
    if name.startswith("bert.embeddings_project"):
        return "hidden_size", "embedding_width"
    if "relative_attention_bias" in name:
        return "relative_attention_num_buckets", "num_attention_heads"
    if ".intermediate." in name:
        return "intermediate_size", "hidden_size"
    if re.search(r"\d\.output\.dense\.weight", name):
        return "hidden_size", "intermediate_size"
    if name.startswith(("classifier", "qa_outputs")):
        return "label2id", "hidden_size"
    if name == "cls.predictions.bias":
        return ("vocab_size",)
    return "hidden_size", "hidden_size"


def check_sizes(source: str, tensors: Mapping[str, np.ndarray], config: BertConfig) -> None:
    """Compares the encoder's tensors with the sizes of a configuration, before a network of these sizes is made.

    Raises:
        InputError: a layer is missing, or a shape differs from the configuration's.
    """
    layers = {int(found[1]) for name in tensors if (found := re.match(r"bert\.encoder\.layer\.(\d{1,9})\.", name))}
    missing = next(number for number in itertools.count() if number not in layers)
    if missing < config.num_hidden_layers:
        raise InputError(
            f"{source}: bert.encoder.layer.{missing}. is missing; the configuration describes another network "
            f"(num_hidden_layers={config.num_hidden_layers}) or the file is incomplete"
        )
    for module in MODULES.values():
        if not is_encoder(module) or module.endswith("LayerNorm"):
            continue
        for layer in range(config.num_hidden_layers if "{}" in module else 1):
            name = f"{module.format(layer)}.weight"
            if name in tensors and all(getattr(config, key) for key in _config_keys(name)):
                check_shape(
                    source, name, tensors[name].shape, tuple(getattr(config, key) for key in _config_keys(name))
                )


def check_shape(source: str, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises InputError naming the tensor, both shapes and the configuration keys of the axes that differ."""
    if found == expected:
        return
    keys = _config_keys(name)
    keys = tuple("hidden_size (of an ELECTRA embedding_size)" if key == "embedding_width" else key for key in keys)
    differing = [key for key, a, b in zip(keys, expected, found, strict=False) if a != b] or keys[:1]
    raise InputError(
        f"{source}: {name} has shape {list(found)}, but the configuration asks for {list(expected)}; "
        f"correct {' and '.join(dict.fromkeys(differing))} or use the weights that belong to it"
    )
