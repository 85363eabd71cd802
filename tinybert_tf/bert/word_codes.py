"""The codes that stand for a word table in few bits; see `checkpoints.word_codes`.

Shapes: V words, D their width, G groups of dimensions.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class WordCodes:
    """A word table [V, D].

    Attributes:
        places: int32 [V]. N > 0: row N of `rows`; N < 0: row -N of `codes`.
        rows: int8 [whole rows + 1, D], between -7 and 7; row 0 is zero.
        row_scales: float32 [D], of a step of `rows`.
        codes: uint8 [coded rows + 1, G], numbers of vectors in the codebooks; row 0 is zero.
        codebooks: int8 [G, 256, D / G], the vectors of each group; number 0 is zero.
        codebook_scales: float32 [D], of a step of `codebooks`.
    """

    places: np.ndarray
    rows: np.ndarray
    row_scales: np.ndarray
    codes: np.ndarray
    codebooks: np.ndarray
    codebook_scales: np.ndarray

    def table(self) -> np.ndarray:
        """The table, float32 [V, D]."""
        whole = self.rows[np.maximum(self.places, 0)] * self.row_scales
        codes = self.codes[np.maximum(-self.places, 0)]
        coded = self.codebooks[np.arange(codes.shape[1]), codes].reshape(whole.shape) * self.codebook_scales
        return (whole + coded).astype(np.float32)
