"""A coded word table while it is trained.

Shapes: V words, D their width, W whole rows, C coded rows, G groups of dimensions (see `tinybert_tf.checkpoints.word_codes`).
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.export.writer.quantization import LARGEST

# Rows of text in which words are counted.
_COUNTED = 20_000


class CodedTable:
    """Rounds a word table to its codes.

    Places, codes and scales stay. A whole row is rounded to its integers; a vector of a codebook is the mean of the rows that
    have it, each by how often its word occurs.

    Args:
        model: a network with `word_codes`.
    """

    def __init__(self, model: BertModel):
        self._model, self._codes = model, model.word_codes
        self.variable = model.embeddings.word_embeddings.embeddings.value
        places, (groups, vectors, size) = self._codes.places, self._codes.codebooks.shape
        # Words by their row of `rows`, and by their row of `codes`.
        by_place = np.argsort(places, kind="stable")
        self._whole, self._coded = by_place[(places < 0).sum() :], by_place[: (places < 0).sum()][::-1]
        # A vector's number among those of all groups, for each group of each coded row: [C * G].
        first_of_group = vectors * np.arange(groups, dtype=np.int32)
        self._numbers = (self._codes.codes[1:] + first_of_group).reshape(-1)
        self._order = np.argsort(np.concatenate([self._whole, self._coded]), kind="stable")
        self._size, self._vectors = size, groups * vectors
        self.shares = tf.Variable(self._shares(np.ones(len(places))), trainable=False)

    def count(self, texts: Iterable[Mapping]) -> None:
        """Counts the words of the first rows of batches of features, int [B, S], which decide the rows' shares."""
        counts, rows = np.ones(len(self._codes.places)), 0
        for batch in texts:
            ids, mask = np.asarray(batch["input_word_ids"]), np.asarray(batch["input_mask"]) > 0
            counts += np.bincount(ids[mask], minlength=len(counts))
            rows += len(ids)
            if rows >= _COUNTED:
                break
        self.shares.assign(self._shares(counts))

    def rounded(self) -> tf.Tensor:
        """The table [V, D] that codes can stand for."""
        rows, vectors = self._integers()
        whole = rows * self._codes.row_scales
        coded = tf.gather(tf.reshape(vectors * self._scales_of_vectors(), [-1, self._size]), self._numbers)
        coded = tf.reshape(coded, [len(self._coded), -1])
        return tf.gather(tf.concat([whole, coded], axis=0), self._order)

    def keep(self) -> None:
        """Gives the network codes for the table that it has now, and their table."""
        rows, vectors = (values.numpy().astype(np.int8) for values in self._integers())
        zero = np.zeros((1, rows.shape[1]), np.int8)
        codes = dataclasses.replace(self._codes, rows=np.concatenate([zero, rows]), codebooks=vectors)
        self._model.word_codes = codes
        self.variable.assign(codes.table())

    def _integers(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Those of whole rows, float [W, D], and of codebooks, float [G, 256, D / G]."""
        codes, table = self._codes, tf.convert_to_tensor(self.variable)
        rows = _round(tf.gather(table, self._whole), codes.row_scales, LARGEST[4])
        parts = tf.reshape(tf.gather(table, self._coded), [-1, self._size])
        means = tf.math.unsorted_segment_sum(parts * self.shares[:, None], self._numbers, self._vectors)
        means = tf.reshape(means, codes.codebooks.shape)
        return rows, _round(means, self._scales_of_vectors(), LARGEST[8])

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        """The share that each group of each coded row has in its vector [C * G], for how often each word occurs [V]."""
        weights = np.repeat(counts[self._coded], self._codes.codebooks.shape[0])
        totals = np.bincount(self._numbers, weights, self._vectors)
        return (weights / totals[self._numbers]).astype(np.float32)

    def _scales_of_vectors(self) -> np.ndarray:
        return self._codes.codebook_scales.reshape(-1, 1, self._size)


def _round(values: tf.Tensor, scales: np.ndarray, largest: int) -> tf.Tensor:
    return tf.clip_by_value(tf.round(tf.math.divide_no_nan(values, scales)), -largest, largest)
