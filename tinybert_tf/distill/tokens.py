"""The tokens of many texts, and what a network's layers compute for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinybert_tf.bert import INPUT_NAMES, BertModel
from tinybert_tf.bert.layers import LayerStates, SelfAttention, TransformerLayer
from tinybert_tf.distill.networks import find_feature
from tinybert_tf.errors import InputError

_BATCH_TOKENS = 4096


def by_length(batches: Iterable[Mapping]) -> list[dict[str, np.ndarray]]:
    """The rows of all batches in batches of similar length and about `_BATCH_TOKENS` tokens: few large operations."""
    rows = []
    for batch in batches:
        arrays = _inputs_of(batch)
        for number, mask in enumerate(arrays["input_mask"]):
            if (length := int(np.max(np.flatnonzero(mask), initial=-1)) + 1) > 0:
                rows.append((length, {name: array[number, :length] for name, array in arrays.items()}))
    rows.sort(key=lambda row: row[0])
    found, begin = [], 0
    while begin < len(rows):
        end = begin + 1
        while end < len(rows) and rows[end][0] * (end + 1 - begin) <= _BATCH_TOKENS:
            end += 1
        longest, part = rows[end - 1][0], [row for _, row in rows[begin:end]]
        found.append(
            {name: np.stack([np.pad(row[name], (0, longest - len(row[name]))) for row in part]) for name in part[0]}
        )
        begin = end
    return found


def _inputs_of(batch: Mapping) -> dict[str, np.ndarray]:
    """A `BertModel`'s inputs [B, S] of a batch, also by KerasHub's names; without token types all are of the first."""
    if not isinstance(batch, Mapping):
        raise InputError(f"holds a {type(batch).__name__}; give batches of features by name", "batches")
    found = {name: find_feature(batch, name) for name in INPUT_NAMES}
    if found["input_word_ids"] is None or found["input_mask"] is None:
        raise InputError(f"has the features {', '.join(batch)}; input_word_ids and input_mask are needed", "batches")
    if found["input_type_ids"] is None:
        found["input_type_ids"] = np.zeros_like(found["input_word_ids"])
    arrays = {name: np.asarray(value) for name, value in found.items()}
    for name, array in arrays.items():
        if array.ndim != 2:
            raise InputError(
                f"has {name} of shape {list(array.shape)}, not [rows, tokens]; batch the examples", "batches"
            )
    return arrays


class Tokens:
    """The tokens of all batches as one list for `model`, with the indices that restore the batches for attention."""

    def __init__(self, model: BertModel, features: Sequence[Mapping]):
        self.model, self.features = model, features
        self.masks = [batch["input_mask"] > 0 for batch in self.features]
        self.count = sum(int(mask.sum()) for mask in self.masks)
        if self.count < 2:
            raise InputError(
                f"teacher_projection: the batches hold {self.count or 'no'} token; give a few hundred rows of real text"
            )
        # The first token of each row.
        self.first = np.concatenate([(np.cumsum(mask, axis=1) == 1)[mask] for mask in self.masks])

    def embed(self) -> np.ndarray:
        """The embedding output [T, hidden]."""
        states = [self.model.embeddings(x["input_word_ids"], x["input_type_ids"]) for x in self.features]
        return np.concatenate([np.asarray(x)[mask] for x, mask in zip(states, self.masks, strict=True)])

    def states(self, layer: TransformerLayer, inputs: np.ndarray) -> LayerStates:
        """The intermediate tensors of a layer for `inputs` [T, hidden], each [T, ...]; without the attention logits."""
        return LayerStates(None, *self._each(inputs, lambda *batch: layer.intermediates(*batch)[1:]))

    def outputs(self, layer: TransformerLayer, inputs: np.ndarray) -> np.ndarray:
        """The layer's output for `inputs`, both [T, hidden]."""
        return self._each(inputs, lambda *batch: [layer.intermediates(*batch).outputs])[0]

    def contexts(self, attention: SelfAttention, inputs: np.ndarray) -> np.ndarray:
        """What all heads of a layer give together for `inputs`, before the output projection, both [T, hidden]."""
        return self._each(inputs, lambda hidden, mask: [attention.attend(hidden, hidden, mask, False)[0]])[0]

    def _each(self, inputs: np.ndarray, compute: Callable[[np.ndarray, Any], Sequence]) -> list[np.ndarray]:
        """What `compute(hidden [B, S, hidden], additive mask)` gives for each batch, for all tokens."""
        made, begin = None, 0
        for mask in self.masks:
            end = begin + int(mask.sum())
            padded = np.zeros((*mask.shape, inputs.shape[-1]), np.float32)
            padded[mask] = inputs[begin:end]
            results = [np.asarray(result) for result in compute(padded, self.model.additive_mask(mask))]
            if made is None:
                made = [np.empty((self.count, result.shape[-1]), np.float32) for result in results]
            for whole, result in zip(made, results, strict=True):
                whole[begin:end] = result[mask]
            begin = end
        return made
