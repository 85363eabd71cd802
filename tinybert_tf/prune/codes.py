"""Codes a word table: whole rows for the words that occur most, vectors that rows share for the others.

Frequent words keep their own row in four bits. The others are cut into groups of up to six dimensions, and each group takes one
of 255 vectors that k-means finds, weighted by how often a word occurs: a byte for six weights. No word is lost, so teacher
and student keep their tokens, and losses that compare token by token still apply.
"""

from collections.abc import Iterable

import numpy as np
from sklearn.cluster import KMeans

from tinybert_tf.checkpoints.word_codes import WordCodes
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.quantization import LARGEST, quantized
from tinybert_tf.prune.texts import Text, parts
from tinybert_tf.tokenizer_files import SPECIAL_TOKENS

# Vectors of a group, besides the one that is zero, and the most dimensions of a group.
VECTORS, _WIDEST = 255, 6
# What a word counts for that the texts do not have, and passes of k-means.
_UNREAD, _PASSES = 1.0, 20
_TEXTS_AT_A_TIME = 4096


def count_tokens(texts: Iterable[Text], tokenizer: Tokenizer) -> np.ndarray:
    """How often each id [V] occurs in texts; special tokens as often as the most frequent one."""
    counts, texts = np.zeros(tokenizer.vocab_size), parts(texts)
    while chunk := [text for text, _ in zip(texts, range(_TEXTS_AT_A_TIME), strict=False)]:
        counts += np.bincount(tokenizer.tokenize(chunk).flat_values.numpy(), minlength=len(counts))
    special = [number for number, word in enumerate(tokenizer.vocabulary) if word in SPECIAL_TOKENS]
    counts[special] = counts.max()
    return counts


def code_table(table: np.ndarray, counts: np.ndarray, whole: int, seed: int = 0) -> WordCodes:
    """The codes of a word table.

    >>> table = np.random.default_rng(0).normal(size=(1000, 12)).astype(np.float32)
    >>> codes = code_table(table, counts=np.arange(1000)[::-1], whole=100)
    >>> codes.codes.shape, codes.vectors.shape
    ((901, 2), (2, 256, 6))
    >>> error = np.square(codes.table() - table).mean(axis=1)
    >>> bool(error[:100].mean() < 0.03 < error[100:].mean() < 0.3)
    True

    Args:
        table: float32 [V, D].
        counts: [V], how often each word occurs.
        whole: number of words, the most frequent ones, whose rows stay whole.
        seed: of the vectors that k-means begins with.

    Raises:
        InputError: fewer than `VECTORS` rows would be left to code, so that nothing is gained.
    """
    words, width = table.shape
    if words - whole <= VECTORS:
        raise InputError(
            f"leaves {max(words - whole, 0)} of {words} rows to code, which share {VECTORS} vectors; take {words - VECTORS - 1} "
            "or less",
            "whole_rows",
            whole,
        )
    order = np.argsort(-counts, kind="stable")
    first, others = order[:whole], order[whole:]
    places = np.empty(words, np.int32)
    places[first], places[others] = np.arange(1, whole + 1), -np.arange(1, len(others) + 1)
    rows, row_scales = quantized(table[first], 4, 1, counts=counts[first])
    size = max(size for size in range(1, _WIDEST + 1) if width % size == 0)
    spread = np.maximum(table[others].std(axis=0), np.finfo(np.float32).tiny)
    weights, groups = np.maximum(counts[others], _UNREAD), np.split(table[others] / spread, width // size, axis=1)
    # One start: others change the error by less than the rounding of the vectors.
    k_means = KMeans(VECTORS, n_init=1, max_iter=_PASSES, random_state=seed)
    found = [(k_means.fit(group, sample_weight=weights).cluster_centers_, k_means.labels_) for group in groups]
    centers = np.stack([centers for centers, _ in found])  # [G, VECTORS, size]
    values = centers.transpose(1, 0, 2).reshape(VECTORS, width) * spread
    scales = (np.abs(values).max(axis=0) / LARGEST[8]).astype(np.float32)
    integers = np.round(values / np.maximum(scales, np.finfo(np.float32).tiny)).astype(np.int8)
    vectors = integers.reshape(VECTORS, width // size, size).transpose(1, 0, 2)
    codes = np.stack([nearest for _, nearest in found], axis=1)
    return WordCodes(
        places=places,
        rows=np.concatenate([np.zeros((1, width), np.int8), rows]),
        row_scales=row_scales[0],
        codes=np.concatenate([np.zeros((1, width // size), np.uint8), (codes + 1).astype(np.uint8)]),
        vectors=np.ascontiguousarray(np.pad(vectors, ((0, 0), (1, 0), (0, 0)))),
        vector_scales=scales,
    )
