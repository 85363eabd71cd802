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

from tinybert_tf.bert import BertModel, WordCodes
from tinybert_tf.errors import InputError

FILE_NAME = "word_codes.safetensors"
# Vectors of a codebook, as many as a byte counts, and the largest number in a whole row.
_VECTORS, _LARGEST = 256, 7

logger = logging.getLogger(__name__)


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
    _check(codes, path)
    if not _is_table_of(codes, model):
        raise InputError(
            f"{path}: codes of another word table than the one beside it; remove it, or code the table again"
        )
    use_codes(model, codes)


def _check(codes: WordCodes, path: Path) -> None:
    """Raises InputError for tensors of other types or shapes than those of `WordCodes`, or numbers of rows that are not there."""
    remedy = "fetch the file again, or code the table again (bin/prune.py)"
    rows, books = codes.rows.shape, codes.codebooks.shape
    if len(rows) != 2 or len(books) != 3 or books[0] * books[2] != rows[1]:
        raise InputError(
            f"{path}: rows {list(rows)} and codebooks {list(books)}, which must be [rows, width] and [groups, {_VECTORS}, "
            f"width / groups]; {remedy}"
        )
    expected = {
        "places": (np.int32, (codes.places.size,)),
        "rows": (np.int8, rows),
        "row_scales": (np.float32, rows[1:]),
        "codes": (np.uint8, (len(np.atleast_1d(codes.codes)), books[0])),
        "codebooks": (np.int8, (books[0], _VECTORS, books[2])),
        "codebook_scales": (np.float32, rows[1:]),
    }
    for name, (dtype, shape) in expected.items():
        value, wanted = getattr(codes, name), f"{np.dtype(dtype)} {list(shape)}"
        if (value.dtype, value.shape) != (dtype, shape):
            raise InputError(f"{path}: {name} is {value.dtype} {list(value.shape)}, not {wanted}; {remedy}")
    for name, last in (("rows", codes.places.max(initial=0)), ("codes", -int(codes.places.min(initial=0)))):
        if last >= (count := len(getattr(codes, name))):
            raise InputError(f"{path}: places has a row {last} of {name}, but these end at {count - 1}; {remedy}")
    if np.abs(codes.rows.astype(np.int16)).max(initial=0) > _LARGEST:
        raise InputError(f"{path}: rows has numbers beyond {_LARGEST}, which four bits do not hold; {remedy}")


def _is_table_of(codes: WordCodes, model: BertModel) -> bool:
    """Whether a network has the table of these codes, in its own precision."""
    table = model.embeddings.word_embeddings.embeddings.numpy()
    return len(codes.places) == len(table) and np.array_equal(codes.table().astype(table.dtype), table)
