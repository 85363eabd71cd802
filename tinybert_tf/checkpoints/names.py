"""Which Hugging Face tensor belongs to which variable, and what to say when they do not fit."""

import numpy as np

from tinybert_tf.errors import InputError

# Variable path of ours -> module of theirs. The first match wins; {} is the layer number.
_LAYER_MODULES = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}
_MODULES = {
    "embeddings/word_embeddings": "bert.embeddings.word_embeddings",
    "embeddings/position_embeddings": "bert.embeddings.position_embeddings",
    "embeddings/token_type_embeddings": "bert.embeddings.token_type_embeddings",
    "embeddings/layer_norm": "bert.embeddings.LayerNorm",
    "pooler/dense": "bert.pooler.dense",
    "classifier": "classifier",
    "masked_lm/transform": "cls.predictions.transform.dense",
    "masked_lm/layer_norm": "cls.predictions.transform.LayerNorm",
    "masked_lm": "cls.predictions",
}
_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}


def tensor_name(path: str, head: str) -> str:
    """The Hugging Face name, with the `bert.` prefix, of the variable at `path` in a model with this head."""
    module, leaf = path.rsplit("/", 1)
    if module.startswith("layer_"):
        layer, part = module.split("/", 1)
        theirs = f"bert.encoder.layer.{layer.removeprefix('layer_')}.{_LAYER_MODULES[part]}"
    else:
        theirs = _MODULES[module]
    if theirs == "classifier" and head == "span":
        theirs = "qa_outputs"
    return f"{theirs}.{_LEAVES[leaf]}"


def is_encoder(name: str) -> bool:
    """Whether a model is useless without this tensor; the pooler and the heads can be trained anew."""
    return name.startswith(("bert.embeddings.", "bert.encoder."))


def canonical(name: str) -> str:
    """One spelling for every published one: with `bert.`, LayerNorm.weight/bias instead of gamma/beta."""
    name = name.removeprefix("module.")
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = f"bert.{name}"
    if name.endswith("LayerNorm.gamma"):
        name = name.removesuffix("gamma") + "weight"
    elif name.endswith("LayerNorm.beta"):
        name = name.removesuffix("beta") + "bias"
    return name


def transposed(path: str) -> bool:
    """Torch keeps dense weights as [out, in], Keras as [in, out]."""
    return path.endswith("/kernel")


def _config_keys(name: str) -> tuple[str, ...]:
    """The `config.json` key that sets each axis of a tensor in Hugging Face's layout."""
    if "word_embeddings" in name:
        return "vocab_size", "hidden_size"
    if "position_embeddings" in name:
        return "max_position_embeddings", "hidden_size"
    if "token_type_embeddings" in name:
        return "type_vocab_size", "hidden_size"
    if "intermediate.dense" in name:
        return "intermediate_size", "hidden_size"
    if name.endswith("output.dense.weight") and "attention" not in name:
        return "hidden_size", "intermediate_size"
    if name.startswith(("classifier", "qa_outputs")):
        return "label2id", "hidden_size"
    if name == "cls.predictions.bias":
        return ("vocab_size",)
    return "hidden_size", "hidden_size"


def check_shape(file: str, name: str, found: np.ndarray, expected: tuple[int, ...]) -> None:
    """Raises InputError naming the tensor, both shapes and the configuration key that sets the axis that differs."""
    if found.shape == expected:
        return
    keys = _config_keys(name)
    differing = [
        key for key, ours, theirs in zip(keys, expected, found.shape, strict=False) if ours != theirs
    ] or list(keys[:1])
    raise InputError(
        f"{file}: {name} has shape {list(found.shape)} but config.json asks for {list(expected)}; "
        f"correct {' and '.join(dict.fromkeys(differing))} in config.json or use the weights that belong to it"
    )
