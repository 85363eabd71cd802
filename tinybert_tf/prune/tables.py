"""Embedding tables with fewer rows."""

from collections.abc import Sequence

import numpy as np

from tinybert_tf.bert import BertModel, build_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import differing_settings


def with_words(model: BertModel, kept: Sequence[int]) -> BertModel:
    """A copy of a network with only the words of the ids `kept`, which become 0, 1, 2, ...

    Raises:
        InputError: the padding token is not kept.
    """
    kept = list(kept)
    if model.config.pad_token_id not in kept:
        raise InputError(f"pad_token_id={model.config.pad_token_id} is not among the words that are kept")
    return _with_rows(model, kept, vocab_size=len(kept), pad_token_id=kept.index(model.config.pad_token_id))


def with_positions(model: BertModel, count: int) -> BertModel:
    """A copy of a network with only the first `count` positions."""
    return _with_rows(model, range(count), max_position_embeddings=count)


def _with_rows(model: BertModel, rows: Sequence[int], **changes: int) -> BertModel:
    """A copy with another configuration; arrays that are shorter in it have these rows only."""
    copy = build_model(model.config.replace(**changes), model.head, dtype=model.dtype_policy.name)
    for variable, source in zip(copy.weights, model.weights, strict=True):
        value = np.asarray(source)
        variable.assign(value if value.shape == tuple(variable.shape) else value[list(rows)])
    return copy


def check_same_words(tokenizer: Tokenizer, other: Tokenizer) -> None:
    """Raises InputError for different vocabularies: the same ids would be other words."""
    for name, ours, theirs in differing_settings(tokenizer.spec, other.spec):
        raise InputError(
            f"{tokenizer.vocab_file} has {name}={ours} and {other.vocab_file} {theirs}; give a teacher and a student that "
            "share one vocabulary"
        )
    words, others = tokenizer.vocabulary, other.vocabulary
    if words == others:
        return
    line = next(
        (n for n, (a, b) in enumerate(zip(words, others, strict=False)) if a != b), min(len(words), len(others))
    )
    shown = [repr(entries[line]) if line < len(entries) else "nothing" for entries in (words, others)]
    raise InputError(
        f"{tokenizer.vocab_file} ({len(words)} entries) and {other.vocab_file} ({len(others)} entries) differ from line "
        f"{line + 1} on ({shown[0]}, {shown[1]}); give a teacher and a student that share one vocabulary"
    )
