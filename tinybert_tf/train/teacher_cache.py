"""Outputs of a frozen teacher for each example, computed once and read from disk in every later step.

A directory for each teacher and set of rows holds one file for each output, mapped into memory, one row after the other without
padding; `known` tells which rows are computed. A run that was interrupted computes the others.
"""

import errno
import functools
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import INPUT_NAMES
from tinybert_tf.data import length_buckets
from tinybert_tf.data.token_shards import TokenShards
from tinybert_tf.distill.networks import TEACHER, Reader
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, remove
from tinybert_tf.progress import Progress

logger = logging.getLogger(__name__)

_BATCH_SIZE, _SAVE_SECONDS = 64, 10.0
# Disk space that is left free, at most.
_SPARE_BYTES = 1 << 30
# "auto" keeps states from this many passes on and up to this size, which the page cache holds: reading them from memory costs a
# hundredth of computing them.
_AUTO_EPOCHS, _AUTO_BYTES = 3, 4 << 30


class TeacherCache:
    """A teacher's outputs for the rows of shards: logits [B, C] or [B, S, C], hidden states [B, S, D],
    attention logits [B, H, S, S]. Logits are kept in float32, the others in half precision (their own, if they have one).

    Args:
        folder: holds a directory for each teacher, set of outputs and set of rows.
        shards: the rows.
        teacher: a functional model, as a `Distiller` reads it.
    """

    def __init__(self, folder: str | Path, shards: TokenShards, teacher: Reader):
        self.shards, self._teacher, self._outputs = shards, teacher, teacher.submodel.output
        shapes = [(name, output.shape, output.dtype) for name, output in self._outputs.items()]
        network = teacher.network
        # The configuration has the activation of the head, the policy the precision of the products: neither shows in weights.
        computes = getattr(network, "config", None), network.dtype_policy.name
        digest = hashlib.sha256(f"{shards.key} {shapes} {computes}".encode())
        for weight in network.get_weights():
            digest.update(np.ascontiguousarray(weight).view(np.uint8).data)
        self.folder = Path(folder) / f"teacher-{digest.hexdigest()[:16]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        values = {name: int(self._begins(name)[-1]) * self._width(name) for name in self._outputs}
        return self.shards.rows + sum(count * np.dtype(self._dtype(name)).itemsize for name, count in values.items())

    def keeps_states(self, choice: str, epochs: float) -> bool:
        """Whether hidden states and attention logits are to be kept under `teacher_cache=choice`.

        "auto" keeps them where nothing is lost (they are in half precision anyway), where they are read often enough, and where
        they fit on the disk and into the page cache, so that reading is faster than computing.
        """
        if choice != "auto":
            return choice == "states"
        lossless = all(tf.as_dtype(output.dtype).size == 2 for output in self._outputs.values())
        return lossless and epochs >= _AUTO_EPOCHS and self.size <= _AUTO_BYTES and self.has_room

    @property
    def has_room(self) -> bool:
        """Whether the disk has room for all files, and as much again or a gigabyte. What lies there from a run before counts
        as room, so that a resumed run decides as it did at first.
        """
        return self.size + min(self.size, _SPARE_BYTES) <= self._free_bytes() + self._written_bytes()

    def compute(self, rows: np.ndarray | None = None) -> None:
        """Computes the missing outputs of some rows, by default of all.

        Raises:
            InputError: the disk has no room for the files.
        """
        missing = np.flatnonzero(self._known == 0)
        if rows is not None:
            missing = np.intersect1d(missing, rows)
        if not len(missing):
            return
        missing = missing[np.argsort(self.shards.lengths[missing], kind="stable")]
        signature = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUT_NAMES}
        forward = tf.function(self._teacher, input_signature=[signature], autograph=False)
        progress, saved_at = Progress("teacher", len(missing), "row"), time.perf_counter()
        done = saved = 0
        try:
            while done < len(missing):
                numbers = missing[done : done + _BATCH_SIZE]
                features, *_ = self.shards.batch(numbers, len(numbers), length_buckets(self.shards.seq_len))
                for name, values in forward(features).items():
                    self._write(name, numbers, values.numpy())
                done += len(numbers)
                progress.show(done)
                if (now := time.perf_counter()) - saved_at >= _SAVE_SECONDS:
                    self._save(missing[saved:done])
                    saved_at, saved = now, done
        finally:
            self._save(missing[saved:done])
            progress.close()

    def _save(self, numbers: np.ndarray) -> None:
        """Marks rows as known after their values are on the disk: what is known is whole, also when the machine goes down."""
        for values in self._files.values():
            values.flush()
        self._known[numbers] = 1
        self._known.flush()

    def features(self) -> dict[str, Callable[[np.ndarray, int], np.ndarray]]:
        """The outputs as further features of batches, for `TokenShards.batches`; a `Distiller` uses them in place of its
        teacher's.
        """
        return {TEACHER + name: functools.partial(self._read, name) for name in self._outputs}

    def _read(self, name: str, numbers: np.ndarray, length: int) -> np.ndarray:
        """[B, ...] of rows, 0 where there is padding; -1 for a row of padding."""
        shape = tuple(length if size is None else size for size in self._outputs[name].shape[1:])
        values, begins = self._files[name], self._begins(name)
        made = np.zeros((len(numbers), *shape), values.dtype)
        for place, row in enumerate(numbers):
            if row >= 0:
                own = values[begins[row] : begins[row + 1]]
                tokens = self.shards.lengths[row]
                target = _unpadded(made[place], self._outputs[name].shape[1:], tokens)
                target[...] = own.reshape(target.shape)
        return made

    def _write(self, name: str, numbers: np.ndarray, values: np.ndarray) -> None:
        begins, array = self._begins(name), self._files[name]
        for value, row in zip(values, numbers, strict=True):
            own = _unpadded(value, self._outputs[name].shape[1:], self.shards.lengths[row])
            array[begins[row] : begins[row + 1]] = own.reshape(-1, self._width(name))

    def _dtype(self, name: str) -> np.dtype:
        dtype = self._outputs[name].dtype
        if name == "logits":
            return np.dtype(np.float32)
        return tf.as_dtype("float16" if dtype == "float32" else dtype).as_numpy_dtype

    def _width(self, name: str) -> int:
        """Values that lie together in every row, whatever its length."""
        return int(np.prod([size for size in self._outputs[name].shape[1:] if size is not None]))

    @functools.cache  # noqa: B019 - as many as there are outputs, for one object that lives as long as a stage
    def _begins(self, name: str) -> np.ndarray:
        """Where each row begins, in units of `_width`."""
        lengths = self.shards.lengths ** sum(size is None for size in self._outputs[name].shape[1:])
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])

    @functools.cached_property
    def _known(self) -> np.ndarray:
        """uint8 [rows], 1 for those that are computed."""
        return self._files["known"]

    @functools.cached_property
    def _files(self) -> dict[str, np.ndarray]:
        """Every file as an array. Where one is missing or has another size, all begin empty."""
        arrays = {"known": ((self.shards.rows,), np.dtype(np.uint8))}
        for name in self._outputs:
            arrays[name] = ((int(self._begins(name)[-1]), self._width(name)), np.dtype(self._dtype(name)))
        paths = {name: self.folder / name.replace("/", "_") for name in arrays}
        sizes = {name: int(np.prod(shape)) * dtype.itemsize for name, (shape, dtype) in arrays.items()}
        if not all(path.is_file() and path.stat().st_size == sizes[name] for name, path in paths.items()):
            remove(self.folder)
            self._check_room()
            # Made aside: another run that begins at the same time finds all files or none.
            with atomic_write(self.folder) as aside:
                aside.mkdir()
                for name, path in paths.items():
                    with (aside / path.name).open("wb") as file:
                        _reserve(file, sizes[name])
        return {name: np.memmap(paths[name], dtype, "r+", shape=shape) for name, (shape, dtype) in arrays.items()}

    def _free_bytes(self) -> int:
        return shutil.disk_usage(next(parent for parent in self.folder.absolute().parents if parent.is_dir())).free

    def _written_bytes(self) -> int:
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        return sum(path.stat().st_blocks * 512 for path in files)  # of sparse files what is on the disk

    def _check_room(self) -> None:
        """Logs how large the directory becomes; InputError where the disk has no room for it."""
        size, free = self.size, self._free_bytes()
        if not self.has_room:
            raise InputError(
                f"{self.folder}: the teacher's outputs take {size / 1e9:.3f} GB and the disk has {free / 1e9:.3f} GB; "
                "choose `teacher_cache=none` or another `cache_dir`"
            )
        logger.info("teacher  outputs of %d rows are kept in %s: %.2f GB", self.shards.rows, self.folder, size / 1e9)


def _reserve(file: BinaryIO, size: int) -> None:
    """Makes a file of zeros. Its blocks are taken now where the system can: a memory map of a full disk ends the process."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    file.truncate(size)


def _unpadded(value: np.ndarray, shape: tuple[int | None, ...], tokens: int) -> np.ndarray:
    """The part of one row's output that belongs to its tokens; None in `shape` is a length."""
    return value[tuple(slice(tokens) if size is None else slice(None) for size in shape)]
