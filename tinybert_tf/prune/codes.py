"""Codes a word table: whole rows for the words that occur most, vectors that rows share for the others.

Frequent words keep their own row in four bits. The others are cut into groups of up to six dimensions, and each group takes one
of 255 vectors that k-means finds, weighted by how often a word occurs: a byte for six weights where the width is a multiple of
six, as 312, 384 and 768, for four where it is 128, 256 or 512. No word is lost, so teacher
and student keep their tokens, and losses that compare token by token still apply.
"""

import itertools
from collections.abc import Iterable

import numpy as np
from sklearn.cluster import KMeans

from tinybert_tf.checkpoints.word_codes import WordCodes
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.quantization import LARGEST, quantized
from tinybert_tf.export.writer.rounding import feedback_of
from tinybert_tf.prune.texts import Text, parts
from tinybert_tf.vocabulary import SPECIAL_TOKENS

# Vectors of a codebook, besides the one that is zero, and the most and the fewest dimensions of a group.
CENTROIDS, _WIDEST, _NARROWEST = 255, 6, 3
# What a word counts for that the texts do not have, and passes of k-means.
_UNREAD, _PASSES = 1.0, 20
_TEXTS_AT_A_TIME = 4096


def count_tokens(texts: Iterable[Text], tokenizer: Tokenizer) -> np.ndarray:
    """How often each id [V] occurs in texts; special tokens as often as the most frequent one.

    An entry that no text has counts less than once, the later the vocabulary lists it the less: vocabularies are sorted by
    frequency. Entries without a use count nothing, and where texts have words, neither do single characters: many vocabularies
    list both first.
    """
    counts, texts = np.zeros(tokenizer.vocab_size), parts(texts)
    while chunk := list(itertools.islice(texts, _TEXTS_AT_A_TIME)):
        counts += np.bincount(tokenizer.tokenize(chunk).flat_values.numpy(), minlength=len(counts))
    words = tokenizer.vocabulary
    characters = np.array([len(word.removeprefix("##")) == 1 for word in words])
    likely = np.array([not word.startswith("[") for word in words])
    if counts[characters].sum() <= counts.sum() / 2:  # unlike Chinese, whose words are characters
        likely &= ~characters
    counts = np.where((counts == 0) & likely, 1 / (2 + np.arange(len(counts))), counts)
    special = [number for number, word in enumerate(words) if word in SPECIAL_TOKENS]
    counts[special] = counts.max()
    return counts


def check_codes(words: int, width: int, whole: int) -> None:
    """Raises InputError for a table that cannot be coded with so many whole rows."""
    most = words - CENTROIDS - 1
    if most < 1:
        raise InputError(
            f"the vocabulary of {words} is too small for codes of {CENTROIDS} vectors", "whole_rows", whole
        )
    if not 1 <= whole <= most:
        raise InputError(
            f"must be between 1 and {most}: of {words} rows more than {CENTROIDS} have to be left, which share as many vectors",
            "whole_rows",
            whole,
        )
    if _group_size(width) < _NARROWEST:
        raise InputError(
            f"rows are {width} wide, which has no divisor from {_NARROWEST} to {_WIDEST}: codes would save nothing; leave it out",
            "whole_rows",
            whole,
        )


def code_table(
    table: np.ndarray, counts: np.ndarray, whole: int, seed: int = 0, sensitivity: np.ndarray | None = None
) -> WordCodes:
    """The codes of a word table.

    >>> table = np.random.default_rng(0).normal(size=(1000, 12)).astype(np.float32)
    >>> codes = code_table(table, counts=np.arange(1000)[::-1], whole=100)
    >>> codes.codes.shape, codes.codebooks.shape
    ((901, 2), (2, 256, 6))
    >>> error = np.square(codes.table() - table).mean(axis=1)
    >>> bool(error[:100].mean() < 0.03 < error[100:].mean() < 0.3)
    True

    Args:
        table: float32 [V, D].
        counts: [V], how often each word occurs.
        whole: number of words, the most frequent ones, whose rows stay whole.
        seed: of the vectors that k-means begins with.
        sensitivity: [D, D], what an error of a row costs; see `export.sensitivity`. By default one over the variance of each
            dimension.

    Raises:
        InputError: see `check_codes`.
    """
    words, width = table.shape
    check_codes(words, width, whole)
    order = np.argsort(-counts, kind="stable")
    first, others = order[:whole], order[whole:]
    places = np.empty(words, np.int32)
    places[first], places[others] = np.arange(1, whole + 1), -np.arange(1, len(others) + 1)
    rows, row_scales = quantized(table[first], 4, 1, counts=counts[first], moments=sensitivity)
    size = _group_size(width)
    spread = np.ones(width, np.float32)
    if sensitivity is None:
        spread, sensitivity = table[others].std(axis=0), np.eye(width)
        spread = np.where(spread > 0, spread, np.float32(1))
    weights = np.maximum(counts[others], _UNREAD)
    values, codes = _vectors(table[others] / spread, weights, size, sensitivity, seed)
    values = values * spread  # [CENTROIDS, D]
    scales = (np.abs(values).max(axis=0) / LARGEST[8]).astype(np.float32)
    integers = np.round(values / np.where(scales > 0, scales, 1)).astype(np.int8)
    codebooks = integers.reshape(CENTROIDS, width // size, size).transpose(1, 0, 2)
    return WordCodes(
        places=places,
        rows=np.concatenate([np.zeros((1, width), np.int8), rows]),
        row_scales=row_scales[0],
        codes=np.concatenate([np.zeros((1, width // size), np.uint8), (codes + 1).astype(np.uint8)]),
        codebooks=np.ascontiguousarray(np.pad(codebooks, ((0, 0), (1, 0), (0, 0)))),
        codebook_scales=scales,
    )


def _group_size(width: int) -> int:
    """The most dimensions that groups of equal size can have."""
    return max(size for size in range(1, _WIDEST + 1) if width % size == 0)


def _vectors(
    rows: np.ndarray, weights: np.ndarray, size: int, sensitivity: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of all groups [CENTROIDS, D], and their numbers for each row [rows, D / size].

    One group after another takes its vectors, and the dimensions that are left are moved to where they compensate the error best,
    as GPTQ does for single integers.
    """
    feedback = feedback_of(sensitivity)
    moved = rows.astype(np.float64)
    vectors, numbers = np.empty((CENTROIDS, moved.shape[1])), []
    for start in range(0, moved.shape[1], size):
        group, rest = slice(start, start + size), slice(start + size, None)
        # In these coordinates the squared error is what the error costs after the best compensation.
        whitening = np.linalg.inv(feedback[group, group])
        centroids, nearest = _k_means(moved[:, group] @ whitening, weights, seed)
        vectors[:, group] = centroids @ feedback[group, group]
        error = (moved[:, group] - vectors[nearest, group]) @ whitening
        moved[:, rest] -= error @ feedback[group, rest]
        numbers.append(nearest)
    return vectors.astype(np.float32), np.stack(numbers, axis=1)


def _k_means(points: np.ndarray, weights: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroids [CENTROIDS, size] and the number of the nearest for each point [N]. Unused ones are zero."""
    distinct = min(CENTROIDS, len(np.unique(points, axis=0)))
    # One start: others change the error by less than the rounding of the centroids.
    k_means = KMeans(distinct, n_init=1, max_iter=_PASSES, random_state=seed).fit(points, sample_weight=weights)
    return np.pad(k_means.cluster_centers_, ((0, CENTROIDS - distinct), (0, 0))), k_means.labels_
