"""Candidates from a masked language model, many masked positions to a forward pass."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tinybert_tf.augmentation.words import OTHER, kind
from tinybert_tf.bert import BertModel, build_model
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import SPECIAL_TOKENS

# Upper bound of the difference of a position's float32 scores between two batch shapes, relative to the largest score
# (measured: 1.3e-6, MiniLM). Float64 scores are rounded, so that equal ones stay equal.
NEAR_TIE = 2e-5
DECIMALS = 1e9
CONTEXT = 128
# Size of the cache of positions; about 560 bytes each.
_CACHE_SIZE = 500_000
# Vocabulary entries in a block of `top_k`.
_BLOCK = 64


class Query(NamedTuple):
    """A word to be replaced: `pieces` int32 [(pieces)] of its sentence, of which [first, last) are the word; its kind."""

    pieces: np.ndarray
    first: int
    last: int
    kind: int


class MaskedLM:
    """The most likely words in place of a masked one. The word's tokens are replaced by one [MASK], in the context of its
    own sentence. Candidates are whole words of the same kind (see `words.kind`): no special tokens, no `##` entries, no
    [unused] entries, not the word itself.

    The set of candidates does not depend on the rest of the batch or on the number of threads: float32 scores that are too
    close at the last place are recomputed in float64. In bfloat16 this does not hold.

    Args:
        model: with the head "masked_lm".
        tokenizer: the model's.
        candidates: how many (the paper's K).
        same_word: allow a word as its own candidate.
        batch_size: masked sentences in a forward pass.
        seq_len: tokens of a sentence that the model sees, those around the word; by default 128, or what the model has.

    Raises:
        InputError: another head, a vocabulary of another size, or more tokens than the model has positions.
    """

    def __init__(
        self,
        model: BertModel,
        tokenizer: Tokenizer,
        *,
        candidates: int = 15,
        same_word: bool = False,
        batch_size: int = 256,
        seq_len: int | None = None,
    ):
        if model.head != "masked_lm":
            raise InputError(f"the masked LM has the head {model.head!r}; load it with head='masked_lm'")
        if tokenizer.vocab_size > model.config.vocab_size:
            raise InputError(
                f"{tokenizer.vocab_file}: {tokenizer.vocab_size} words, but the masked LM has {model.config.vocab_size}; "
                "take the vocabulary that the model was trained with"
            )
        positions = model.config.max_position_embeddings
        if seq_len and not 3 <= seq_len <= positions:
            raise InputError(f"must be 3 to {positions}, the masked LM's positions", "seq_len", seq_len)
        self.model, self.tokenizer = model, tokenizer
        self.count = candidates
        self.same_word = same_word
        self.batch_size = batch_size
        self.seq_len = seq_len or min(CONTEXT, positions)
        self._allowed, self._groups = _candidate_table(tokenizer.vocabulary, model.config.vocab_size)
        self._cache: dict[tuple, list[str]] = {}
        self._top = self._top_function(model)

    @functools.cached_property
    def _exact_top(self):
        """As `_top`, in float64. Most runs need it for a few positions in a thousand."""
        exact = build_model(self.model.config, "masked_lm", dtype="float64")
        exact.set_weights(self.model.get_weights())
        return self._top_function(exact)

    def __call__(self, queries: Sequence[Query]) -> list[list[str]]:
        """The candidates of each query, in the vocabulary's order; fewer than K if there are no more."""
        if len(self._cache) > _CACHE_SIZE:
            self._cache.clear()
        windows = [self._window(query) for query in queries]
        keys = [(window.tobytes(), *rest) for window, *rest in windows]
        missing = {key: window for key, window in zip(keys, windows, strict=True) if key not in self._cache}
        near_ties = {}
        for batch in self._batches(missing):
            for key, (ids, near_tie) in zip(batch, self._candidates(self._top, batch.values()), strict=True):
                self._cache[key] = self._words(ids)
                if near_tie:
                    near_ties[key] = missing[key]
        if self.model.compute_dtype == "float32":
            for batch in self._batches(near_ties):
                for key, (ids, _) in zip(batch, self._candidates(self._exact_top, batch.values()), strict=True):
                    self._cache[key] = self._words(ids)
        return [self._cache[key] for key in keys]

    def _window(self, query: Query) -> tuple[np.ndarray, int, int, int]:
        """(word ids with the mask, its position, the group of the word itself or -1, kind)."""
        before, after = query.pieces[: query.first], query.pieces[query.last :]
        room = self.seq_len - 3  # beside [CLS], [MASK] and [SEP]
        left = min(len(before), max(room // 2, room - len(after)))
        before, after = before[len(before) - left :], after[: room - left]
        tokens = self.tokenizer
        ids = np.concatenate([[tokens.cls_id], before, [tokens.mask_id], after, [tokens.sep_id]]).astype(np.int32)
        own = query.pieces[query.first] if query.last - query.first == 1 and not self.same_word else None
        return ids, 1 + left, -1 if own is None else int(self._groups[own]), query.kind

    def _batches(self, windows: dict) -> Iterator[dict]:
        """The windows in batches, sorted by length, which leaves next to no padding."""
        keys = sorted(windows, key=lambda key: len(windows[key][0]))
        for start in range(0, len(keys), self.batch_size):
            yield {key: windows[key] for key in keys[start : start + self.batch_size]}

    def _candidates(self, top, windows) -> list[tuple[np.ndarray, bool]]:
        """For each window the ids of its candidates, sorted, and whether the last of them is too close to the next."""
        ids, *columns = zip(*windows, strict=True)
        lengths = np.array([len(row) for row in ids], np.int32)
        padded = np.full((len(ids), lengths.max()), self.tokenizer.pad_id, np.int32)
        for row, values in zip(padded, ids, strict=True):
            row[: len(values)] = values
        scores, best = (t.numpy() for t in top(padded, lengths, *(np.array(c, np.int32) for c in columns)))
        found = np.isfinite(scores)
        near_ties = np.zeros(len(scores), bool)
        if scores.shape[1] > self.count:
            scale = np.maximum(1.0, np.abs(np.where(found, scores, 0.0)).max(axis=1))
            last, following = scores[:, self.count - 1], scores[:, self.count]
            near_ties = found[:, self.count] & (last - np.where(found[:, self.count], following, 0) < NEAR_TIE * scale)
        found[:, self.count :] = False
        return [(np.sort(row[kept]), bool(tie)) for row, kept, tie in zip(best, found, near_ties, strict=True)]

    def _words(self, ids: np.ndarray) -> list[str]:
        return [self.tokenizer.vocabulary[index] for index in ids]

    def _top_function(self, model: BertModel):
        """A graph: (word ids [B, S], lengths, positions, own groups, kinds, all [B]) -> (scores, ids), both [B, K + 1]."""
        scores_of = masked_scores(model)
        allowed, groups = tf.constant(self._allowed), tf.constant(self._groups)
        count = min(self.count + 1, len(self._groups))
        vector = tf.TensorSpec([None], tf.int32)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), *[vector] * 4], autograph=False)
        def top(word_ids, lengths, positions, own, kinds):
            scores = scores_of(word_ids, lengths, positions)
            if scores.dtype == tf.float64:
                scores = tf.round(scores * DECIMALS) / DECIMALS
            elif scores.dtype != tf.float32:
                scores = tf.cast(scores, tf.float32)
            valid = tf.gather(allowed, kinds) & (groups[None] != own[:, None])
            return top_k(tf.where(valid, scores, tf.constant(-np.inf, scores.dtype)), count)

        return top


def _candidate_table(vocabulary: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """(which entries may replace a word of each kind, bool [kinds, size]; entries that differ in case only share a number,
    int32 [size])."""
    kinds = np.full(size, OTHER)
    numbers: dict[str, int] = {}
    groups = np.arange(size, dtype=np.int32)
    for index, word in enumerate(vocabulary):
        groups[index] = numbers.setdefault(word.casefold(), index)
        special = word in SPECIAL_TOKENS or (word.startswith("[") and word.endswith("]") and len(word) > 2)
        if not special and not word.startswith("##"):
            kinds[index] = kind(word)
    return np.stack([kinds == k for k in range(OTHER)] + [np.zeros(size, bool)]), groups


def top_k(scores, count: int):
    """`tf.math.top_k` of long rows, in a third of its time: first of blocks, by their largest, then of the blocks' entries.

    >>> values, indices = top_k(tf.constant([np.arange(10_000.0)]), 2)
    >>> indices.numpy().tolist()
    [[9999, 9998]]

    Equal scores come in the order of their indices, as from `tf.math.top_k`.

    Args:
        scores: float [B, N].
        count: at most N.

    Returns:
        (scores, indices), both [B, count].
    """
    size = scores.shape[1]
    if size < 4 * count * _BLOCK:
        return tf.math.top_k(scores, count)
    padded = tf.pad(scores, [[0, 0], [0, -size % _BLOCK]], constant_values=-np.inf)
    blocks = tf.reshape(padded, (-1, padded.shape[1] // _BLOCK, _BLOCK))
    chosen = tf.sort(
        tf.math.top_k(tf.reduce_max(blocks, axis=-1), count).indices
    )  # [B, count], ascending for equal scores
    entries = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), (-1, count * _BLOCK))
    values, places = tf.math.top_k(entries, count)
    return values, tf.gather(chosen, places // _BLOCK, batch_dims=1) * _BLOCK + places % _BLOCK


def masked_scores(model: BertModel):
    """A function: (word ids [B, S], lengths [B], positions [B]) -> scores [B, vocabulary] of that position of each row.

    Only that position goes through the vocabulary projection and, but for keys and values, through the last layer.
    """

    def scores(word_ids, lengths, positions):
        hidden = model.embeddings(word_ids, tf.zeros_like(word_ids))
        shape = tf.shape(hidden)
        hidden = tf.reshape(hidden, (-1, hidden.shape[-1]))  # one matrix: see `TransformerLayer.intermediates`
        attention_mask = model.additive_mask(tf.sequence_mask(lengths, tf.shape(word_ids)[1]))
        *layers, last = model.transformer_layers
        for layer in layers:
            hidden = layer.intermediates(hidden, attention_mask).outputs
        rows = tf.gather(tf.reshape(hidden, shape), positions, batch_dims=1)
        if model.relative_attention_bias is not None:  # [B, H, S, S] -> [B, H, 1, S]
            by_query = tf.transpose(attention_mask, (0, 2, 1, 3))
            attention_mask = tf.gather(by_query, positions, batch_dims=1)[:, :, None]
        return model.head_layer(last.intermediates(hidden, attention_mask, rows).outputs)

    return scores
