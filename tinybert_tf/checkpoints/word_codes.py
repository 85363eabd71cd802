"""A word table in few bits: whole rows for the words that matter, codes for the others.

A coded row is cut into groups of a few dimensions; each group is one of 256 vectors (product quantization: Jegou et al. 2011).
The network computes with the table that rows and codes stand for; they are kept beside its weights for the file that is made of
it.

Shapes: V words, D their width, G groups of dimensions (subvectors).
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tinybert_tf.bert import BertModel
from tinybert_tf.errors import InputError

FILE_NAME = "word_codes.safetensors"

logger = logging.getLogger(__name__)


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


def use_codes(model: BertModel, codes: WordCodes) -> None:
    """Gives a network the table of `codes`, which is then trained and rounded by nothing but quantization-aware training."""
    model.embeddings.word_embeddings.embeddings.assign(codes.table())
    model.embeddings.word_embeddings.trainable = False
    model.word_codes = codes


def codes_of(model: BertModel) -> WordCodes | None:
    """The codes of a network's word table; None, with a warning, if the table was changed since."""
    codes = model.word_codes
    if codes is not None and not _is_table_of(codes, model):
        logger.warning(
            "the word table is no longer that of its codes, which are left out: code it again (bin/prune.py)"
        )
        return None
    return codes


def write_codes(model: BertModel, directory: Path) -> None:
    """Writes a network's codes, if it has any, beside its weights."""
    if (codes := codes_of(model)) is not None:
        safetensors.numpy.save_file(vars(codes), directory / FILE_NAME)


def restore_codes(model: BertModel, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Gives a network that was loaded the codes that lie beside its weights.

    Args:
        model: the network.
        tensors: of the file `path`.
        path: for messages.

    Raises:
        InputError: tensors that are not codes, or codes of another table.
    """
    names = [field.name for field in dataclasses.fields(WordCodes)]
    if set(tensors) != set(names):
        raise InputError(f"{path}: holds {', '.join(sorted(tensors))} instead of {', '.join(sorted(names))}; remove it")
    codes = WordCodes(**tensors)
    if not _is_table_of(codes, model):
        raise InputError(
            f"{path}: codes of another word table than the one beside it; remove it, or code the table again"
        )
    use_codes(model, codes)


def _is_table_of(codes: WordCodes, model: BertModel) -> bool:
    """Whether a network has the table of these codes, in its own precision."""
    table = model.embeddings.word_embeddings.embeddings.numpy()
    return len(codes.places) == len(table) and np.array_equal(codes.table().astype(table.dtype), table)
