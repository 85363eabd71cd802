"""How a run reads its examples: batch lengths, and where tokenized examples and teachers' outputs are cached."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.data import length_buckets
from tinybert_tf.distribution import is_chief, worker_number
from tinybert_tf.errors import InputError
from tinybert_tf.files import file_states
from tinybert_tf.settings import flat_values

BUCKETS_HELP = (
    "lengths that batches are padded to: none (the full length), lengths such as 64,128, or auto: up to 32 of them, on "
    "accelerators, where XLA compiles a step for each, a few"
)
CACHE_DIR_HELP = (
    "keeps tokenized examples and teachers' outputs for several runs; absent: in output_dir until the run is finished"
)
TEACHER_CACHES = ("auto", "none", "logits", "states")
TEACHER_CACHE_HELP = (
    "outputs of the teacher that are computed once and then read from disk: none, logits (of the prediction stage), states "
    "(also those that the intermediate stage reads, in half precision), or auto: logits, and states where that is faster"
)
# Settings that the examples do not depend on.
_NOT_OF_EXAMPLES = {"output_dir", "cache_dir", "teacher_cache", "save_every_seconds", "strategy", "num_devices"}


def bucket_lengths(buckets: str, seq_len: int, has_accelerator: bool = False) -> tuple[int, ...]:
    """The lengths that the setting `buckets` selects, ascending, the last being `seq_len`.

    >>> bucket_lengths("none", 64)
    (64,)
    >>> bucket_lengths("16,32", 64)
    (16, 32, 64)
    >>> bucket_lengths("auto", 128, has_accelerator=True)
    (32, 64, 128)

    Args:
        buckets: "auto", "none" or integers separated by commas.
        seq_len: the longest length.
        has_accelerator: whether XLA compiles steps.

    Raises:
        InputError: neither of the words, nor lengths from 1 to `seq_len`.
    """
    if buckets == "none":
        return (seq_len,)
    if buckets == "auto" and has_accelerator:
        return (*(length for length in (32, 64, 128, 256) if length < seq_len), seq_len)
    if buckets == "auto":
        return length_buckets(seq_len)
    try:
        lengths = {int(length) for length in buckets.split(",")}
    except ValueError:
        lengths = {0}
    if not 1 <= min(lengths) <= max(lengths) <= seq_len:
        raise InputError(f"must be auto, none or lengths from 1 to {seq_len}, separated by commas", "buckets", buckets)
    return (*sorted(lengths - {seq_len}), seq_len)


def has_accelerator() -> bool:
    """Whether steps are compiled by XLA, as `Distiller.compile` decides by default."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def cache_folder(output_dir: str | Path, cache_dir: str | None) -> Path:
    """The cache directory of a run; each worker has its own."""
    folder = Path(cache_dir or Path(output_dir) / "cache")
    return folder if is_chief() else folder / f"worker_{worker_number()}"


def examples_identity(settings: Any) -> list:
    """JSON values that change when the examples of a run may have changed: its settings, and the files that these name."""
    values = {name: value for name, value in flat_values(settings).items() if name not in _NOT_OF_EXAMPLES}
    files = {value for value in values.values() if isinstance(value, str) and Path(value).is_file()}
    return [values, file_states(files)]


def digest_of(model: BertModel, *more: Any) -> str:
    """16 letters that stand for a network, its weights and its precision.

    Args:
        model: the network.
        more: further inputs of the digest: bytes, or values, of which the `repr` is used.
    """
    digest = hashlib.sha256(repr((model.config, model.head, model.dtype_policy.name)).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).view(np.uint8).data)
    for value in more:
        digest.update(value if isinstance(value, bytes) else repr(value).encode())
    return digest.hexdigest()[:16]
