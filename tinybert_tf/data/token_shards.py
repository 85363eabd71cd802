"""Examples that are tokenized once, in flat files that every epoch and every restart reads in any order.

The files of a directory, all of them little-endian arrays without a header that are mapped into memory:

    word_ids     uint16 or int32, the tokens of all rows, one row after the other
    type_ids     uint8, of each token
    begins       int64 [rows + 1], where each row begins
    labels       int32 or float32, of each row, for token classification of each token
    weights      float32, of each row or token
    about.json   counts, dtypes and the source of the rows; written last
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.data.batching import WINDOW_BATCHES, length_buckets
from tinybert_tf.data.encoding import Rows, encoded_chunks
from tinybert_tf.data.split import Split
from tinybert_tf.data.tasks import Task
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, read_json_object, write_json

# Part of every key; increase it when the format changes.
_FORMAT = 1


class TokenShards:
    """The encoded rows of a split.

    Args:
        folder: as `write_shards` wrote it.
        pad_id: the padding token.

    Attributes:
        rows: how many there are.
        lengths: int64 [rows], tokens of each row.
        key: of the rows, the tokenizer, the length and the labels; the same key means the same rows.
    """

    def __init__(self, folder: str | Path, pad_id: int = 0):
        self.folder, self._pad_id = Path(folder), pad_id
        about = read_json_object(self.folder / "about.json")
        self.key, self.seq_len = about["key"], about["seq_len"]
        arrays = {}
        for name, (dtype, size) in about["arrays"].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size * np.dtype(dtype).itemsize:
                raise InputError(f"{path}: not the {size} values that about.json lists; remove {self.folder}")
            arrays[name] = np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)
        self._word_ids, self._type_ids, self._begins = (arrays[name] for name in ("word_ids", "type_ids", "begins"))
        self._labels, self._weights = arrays["labels"].reshape(-1, *about["label_shape"]), arrays["weights"]
        self._per_token = about["per_token"]
        self.rows = len(self._begins) - 1

    @property
    def begins(self) -> np.ndarray:
        """int64 [rows + 1], where each row begins among the tokens of all."""
        return self._begins

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self._begins)

    def count_batches(self, batch_size: int, epochs: int = 1) -> int:
        """The total number of batches."""
        return -(-self.rows * epochs // batch_size)

    def row_numbers(
        self, batch_size: int, seed: int | None = None, epochs: int = 1, first: int = 0, buckets: Sequence[int] = ()
    ) -> Iterator[np.ndarray]:
        """The row indices of each batch from batch `first` on; earlier batches are not computed.

        Each epoch is a permutation of all rows. Rows are sorted by length over a window of batches, whose order is then
        shuffled. A batch may hold rows of two epochs; one batch of the last window may be smaller, without a seed the last.

        Args:
            batch_size: rows in a batch.
            seed: determines the order; None keeps rows of similar length in their order.
            epochs: passes over the rows.
            first: batches to skip.
            buckets: the lengths that batches are padded to.
        """
        bounds = np.asarray(buckets or length_buckets(self.seq_len))
        window_rows, total = WINDOW_BATCHES * batch_size, self.rows * epochs
        permutation = functools.lru_cache(2)(lambda epoch: _permutation(self.rows, seed, epoch))
        for window in range(first // WINDOW_BATCHES, -(-total // window_rows)):
            begin, end = window * window_rows, min(total, (window + 1) * window_rows)
            parts = []
            while begin < end:
                epoch, place = divmod(begin, self.rows)
                parts.append(permutation(epoch)[place : place + end - begin])
                begin += len(parts[-1])
            rows = np.concatenate(parts)
            rows = rows[np.argsort(np.searchsorted(bounds, self.lengths[rows]), kind="stable")]
            batches = [rows[place : place + batch_size] for place in range(0, len(rows), batch_size)]
            if seed is not None:
                batches = [
                    batches[index] for index in np.random.default_rng((seed, 1, window)).permutation(len(batches))
                ]
            yield from batches[first - window * WINDOW_BATCHES if window == first // WINDOW_BATCHES else 0 :]

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epochs: int = 1,
        first: int = 0,
        buckets: Sequence[int] | None = None,
        extra: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] | None = None,
    ) -> tf.data.Dataset:
        """Batches `(features, label, weight)` as those of `data.batches`.

        Args:
            batch_size, seed, epochs, first, buckets: see `row_numbers`.
            extra: further features: a function of the numbers of a batch's rows, -1 for filling, and of the batch's length.
        """
        bounds = tuple(buckets or length_buckets(self.seq_len))

        def read() -> Iterator[tuple]:
            for rows in self.row_numbers(batch_size, seed, epochs, first, bounds):
                yield self.batch(rows, batch_size, bounds, extra)

        ints = tf.TensorSpec([batch_size, None], tf.int32)
        features = dict.fromkeys(("input_word_ids", "input_mask", "input_type_ids"), ints)
        for name, values in (extra or {}).items():
            few, more = (values(np.full(batch_size, -1), length) for length in (1, 2))
            shape = [size if size == other else None for size, other in zip(few.shape, more.shape, strict=True)]
            features[name] = tf.TensorSpec(shape, few.dtype)
        places = [batch_size, None] if self._per_token else [batch_size]
        label = tf.TensorSpec([*places, *self._labels.shape[1:]], self._labels.dtype)
        signature = (features, label, tf.TensorSpec(places, tf.float32))
        return tf.data.Dataset.from_generator(read, output_signature=signature).prefetch(tf.data.AUTOTUNE)

    def batch(self, rows: np.ndarray, batch_size: int, buckets: Sequence[int], extra: Mapping | None = None) -> tuple:
        """(features, label, weight) of some rows as arrays, padded to the next of `buckets` and filled up with rows of
        weight 0."""
        lengths = np.zeros(batch_size, np.int64)
        lengths[: len(rows)] = self.lengths[rows]
        length = buckets[int(np.searchsorted(buckets, lengths.max()))]
        is_token = np.arange(length) < lengths[:, None]
        places = (self._begins[rows][:, None] + np.arange(length))[is_token[: len(rows)]]

        def padded(values: np.ndarray, filling, dtype) -> np.ndarray:
            made = np.full((batch_size, length), filling, dtype)
            made[is_token] = values[places]
            return made

        features = {
            "input_word_ids": padded(self._word_ids, self._pad_id, np.int32),
            "input_mask": is_token.astype(np.int32),
            "input_type_ids": padded(self._type_ids, 0, np.int32),
        }
        numbers = np.pad(rows, (0, batch_size - len(rows)), constant_values=-1)
        features |= {name: values(numbers, length) for name, values in (extra or {}).items()}
        if self._per_token:
            return features, padded(self._labels, 0, self._labels.dtype), padded(self._weights, 0, np.float32)
        filling = batch_size - len(rows)
        per_row = (
            np.concatenate([values[rows], np.zeros((filling, *values.shape[1:]), values.dtype)])
            for values in (self._labels, self._weights)
        )
        return features, *per_row


def open_shards(
    folder: str | Path,
    split: Split,
    tokenizer: Tokenizer,
    task: Task,
    seq_len: int,
    ids: Mapping[str, int],
    label_weights: Mapping[str, float] | None = None,
    identity: Any = None,
) -> TokenShards:
    """The rows of `split` as shards below `folder`: those of an earlier call if the rows are the same, else new ones.

    Args:
        folder: holds a directory for each set of rows.
        split, tokenizer, task, seq_len, ids, label_weights: as for `data.batches`.
        identity: JSON values that determine the rows, such as settings and the source's size and modification time. Shards
            of the same identity are used without reading the rows. Of others every row is read, and so checked, and the
            shards are made again only where the rows have changed.

    Raises:
        InputError: a malformed row, no row, or a disk that cannot be written.
    """
    words = dataclasses.replace(tokenizer.spec, source="")
    context = (
        _FORMAT,
        task.name,
        task.kind,
        seq_len,
        sorted(ids.items()),
        label_weights and sorted(label_weights.items()),
        words,
    )
    digest = hashlib.sha256(repr(context).encode())
    name = digest.copy()
    name.update(split.source.encode())
    folder = Path(folder) / f"tokens-{name.hexdigest()[:16]}"
    about_file, identity = folder / "about.json", json.loads(json.dumps(identity))
    about = read_json_object(about_file) if about_file.is_file() else {}
    if about and identity is not None and about["identity"] == identity:
        return TokenShards(folder, tokenizer.pad_id)
    rows = 0
    for row in split:  # before anything is written, to find malformed rows
        digest.update(f"{row.text}\0{row.text_pair}\0{row.label}\n".encode())
        rows += 1
    if not rows:
        raise InputError(f"{split.source}: no examples to train on")
    if about.get("key") == digest.hexdigest():
        write_json(about_file, about | {"identity": identity})
        return TokenShards(folder, tokenizer.pad_id)
    with atomic_write(folder) as aside:
        aside.mkdir()
        about = {"key": digest.hexdigest(), "identity": identity, "source": split.source, "seq_len": seq_len}
        about |= _write(
            aside, encoded_chunks(split, tokenizer, task, seq_len, ids, label_weights), tokenizer.vocab_size
        )
        write_json(aside / "about.json", about)
    return TokenShards(folder, tokenizer.pad_id)


def _write(aside: Path, chunks: Iterable[Rows], vocab_size: int) -> dict[str, Any]:
    """Writes the arrays of all rows; returns their entries in about.json."""
    types = {"word_ids": np.uint16 if vocab_size <= 2**16 else np.int32, "type_ids": np.uint8}
    begins, arrays, about = [np.zeros(1, np.int64)], {}, {}
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((aside / name).open("wb")) for name in ("labels", "weights", *types)}
        for chunk in chunks:
            begins.append(chunk.word_ids.row_splits.numpy()[1:] + begins[-1][-1])
            values = {"word_ids": chunk.word_ids, "type_ids": chunk.type_ids}
            values |= {"labels": chunk.label, "weights": chunk.weight}
            for name, value in values.items():
                value = getattr(value, "flat_values", value).numpy()
                value = value.astype(types.get(name, value.dtype))
                value.tofile(files[name])
                arrays[name] = (value.dtype.str, value.size + arrays.get(name, (0, 0))[1])
                if name == "labels":
                    about = {"label_shape": value.shape[1:], "per_token": isinstance(chunk.label, tf.RaggedTensor)}
    begins = np.concatenate(begins)
    begins.tofile(aside / "begins")
    return about | {"arrays": arrays | {"begins": (begins.dtype.str, len(begins))}}


def _permutation(rows: int, seed: int | None, epoch: int) -> np.ndarray:
    numbers = np.arange(rows, dtype=np.int32)
    if seed is not None:
        np.random.default_rng((seed, 0, epoch)).shuffle(numbers)
    return numbers
