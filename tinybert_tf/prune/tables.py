"""Embedding tables with fewer rows."""

from collections.abc import Sequence

from tinybert_tf.bert import BertModel, build_model
from tinybert_tf.checkpoints.weights import collect, fill
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError

_WORD_TABLE = "bert.embeddings.word_embeddings.weight"
_POSITION_TABLE = "bert.embeddings.position_embeddings.weight"
# Of the masked-LM head: a bias for each word; its kernel is the word table.
_WORD_BIAS = "cls.predictions.bias"


def with_words(model: BertModel, kept: Sequence[int]) -> BertModel:
    """A copy of a network that knows only the words with the ids `kept`, which become 0, 1, 2, ...

    Raises:
        InputError: the padding token is not kept.
    """
    if model.config.pad_token_id not in kept:
        raise InputError(f"pad_token_id={model.config.pad_token_id} is not among the words that are kept")
    pad_token_id = list(kept).index(model.config.pad_token_id)
    tensors = collect(model)
    for name in (_WORD_TABLE, _WORD_BIAS):
        if name in tensors:
            tensors[name] = tensors[name][list(kept)]
    return _filled(model, tensors, vocab_size=len(kept), pad_token_id=pad_token_id)


def with_positions(model: BertModel, count: int) -> BertModel:
    """A copy of a network that knows the first `count` positions only."""
    tensors = collect(model)
    tensors[_POSITION_TABLE] = tensors[_POSITION_TABLE][:count]
    return _filled(model, tensors, max_position_embeddings=count)


def _filled(model: BertModel, tensors: dict, **changes: int) -> BertModel:
    copy = build_model(model.config.replace(**changes), model.head, dtype=model.dtype_policy.name)
    fill(copy, tensors, "the network that is pruned")
    return copy


def check_same_words(tokenizer: Tokenizer, other: Tokenizer) -> None:
    """Raises InputError for two vocabularies that differ: the same cut would take other words from each."""
    for name in ("lower_case", "strip_accents"):
        if getattr(tokenizer.spec, name) != getattr(other.spec, name):
            raise InputError(
                f"{tokenizer.vocab_file} has {name}={getattr(tokenizer.spec, name)} and {other.vocab_file} "
                f"{getattr(other.spec, name)}; give a teacher and a student that share one vocabulary"
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
