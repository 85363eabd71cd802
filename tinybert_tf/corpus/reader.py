"""Reads a corpus in batches: several passes, each in its own order, from any batch on."""

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tinybert_tf.corpus.masking import Masking, draw
from tinybert_tf.corpus.shards import MANIFEST, SPLITS, UNFINISHED, id_type, read_records
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import SETTINGS_FILE, VOCABULARY_FILE

# Examples in memory to be shuffled; 32 MB of ids where they have 128 tokens.
SHUFFLED_EXAMPLES = 1 << 17
_REMAKE = "remove the directory and make the corpus again"


def read_corpus(directory: str | Path) -> "Corpus":
    """The corpus that `make_corpus` wrote.

    Raises:
        InputError: no corpus, an unfinished one, or one whose files are missing or cut short.
    """
    directory = str(directory)
    manifest = os.path.join(directory, MANIFEST)
    if not tf.io.gfile.exists(manifest):
        if tf.io.gfile.exists(os.path.join(directory, UNFINISHED)):
            raise InputError(f"{directory}: this corpus is unfinished; start bin/make_corpus.py again to resume")
        raise InputError(f"{directory}: no corpus, {MANIFEST} is missing; make one with bin/make_corpus.py")
    with tf.io.gfile.GFile(manifest, "rb") as file:
        corpus = Corpus(directory, _checked_manifest(manifest, file.read()))
    for split in SPLITS:
        for path, _, size in corpus.files(split):
            found = tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes"
                raise InputError(f"{path}: {state}, but {MANIFEST} says {size}; {_REMAKE}")
    return corpus


def _checked_manifest(path: str, content: bytes) -> dict[str, Any]:
    """A manifest with all entries that a corpus reads."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {_REMAKE}") from None
    _entry(path, manifest, "settings.max_seq_length", int)
    for name in ("examples", "held_out_examples"):
        _entry(path, manifest, f"counts.{name}", int)
    for name, kind in (("words", int), ("lower_case", bool), ("sha256", str)):
        _entry(path, manifest, f"vocabulary.{name}", kind)
    for shard in _entry(path, manifest, "shards", list):
        for split in SPLITS:
            if isinstance(shard, dict) and split not in shard:
                continue
            name = _entry(path, shard, f"{split}.file", str)
            if not name or name != os.path.basename(name):
                raise InputError(f"{path}: {name!r} is no name of a file beside it; {_REMAKE}")
            for number in ("examples", "bytes"):
                _entry(path, shard, f"{split}.{number}", int)
    return manifest


def _entry(path: str, value: Any, names: str, kind: type) -> Any:
    for name in names.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if type(value) is not kind or (kind is int and not 0 <= value < 1 << 62):
        raise InputError(f"{path}: {names} is missing or not {kind.__name__}; {_REMAKE}")
    return value


class _Rows(NamedTuple):
    """Some examples: ids [rows, seq_len], their numbers in the order of the text, the number of the pass; both [rows]."""

    ids: np.ndarray
    numbers: np.ndarray
    passes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A finished corpus.

    Attributes:
        directory: where it is.
        manifest: the contents of its manifest.json.
    """

    directory: str
    manifest: dict[str, Any]

    @property
    def seq_len(self) -> int:
        return self.manifest["settings"]["max_seq_length"]

    @property
    def examples(self) -> int:
        """Training examples."""
        return self.manifest["counts"]["examples"]

    @property
    def held_out_examples(self) -> int:
        return self.manifest["counts"]["held_out_examples"]

    @property
    def vocab_file(self) -> Path:
        return self._tokenizer_directory / VOCABULARY_FILE

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        if (self._tokenizer_directory / SETTINGS_FILE).is_file():
            return Tokenizer.from_directory(self._tokenizer_directory)
        return Tokenizer(self.vocab_file, self.manifest["vocabulary"]["lower_case"])  # a corpus of an early version

    @property
    def _tokenizer_directory(self) -> Path:
        """The corpus, or for one that is in a bucket a temporary directory with copies of the tokenizer's files."""
        return Path(self.directory if Path(self.directory).is_dir() else self._copies.name)

    @functools.cached_property
    def _copies(self) -> tempfile.TemporaryDirectory:
        copies = tempfile.TemporaryDirectory(prefix="corpus-")
        for name in (VOCABULARY_FILE, SETTINGS_FILE):
            path = os.path.join(self.directory, name)
            if tf.io.gfile.exists(path):
                tf.io.gfile.copy(path, os.path.join(copies.name, name))
        return copies

    def files(self, split: str) -> list[tuple[str, int, int]]:
        """(path, examples, bytes) of each file of "train" or "held_out", in the order of the text."""
        entries = (shard[split] for shard in self.manifest["shards"] if split in shard)
        return [(os.path.join(self.directory, e["file"]), e["examples"], e["bytes"]) for e in entries]

    def read_file(self, path: str, examples: int) -> np.ndarray:
        """The word ids of one of `files`, [examples, seq_len].

        Raises:
            InputError: it is damaged, or its example count or ids do not match the manifest.
        """
        words = self.manifest["vocabulary"]["words"]
        try:
            ids = read_records(path, self.seq_len, id_type(words))
        except (tf.errors.OpError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: damaged ({reason}); copy the file again, or {_REMAKE}") from None
        if len(ids) != examples or ids.max(initial=0) >= words:
            raise InputError(
                f"{path}: has {len(ids)} examples with ids up to {ids.max(initial=0)}, but {MANIFEST} says {examples} "
                f"and a vocabulary of {words} words; {_REMAKE}"
            )
        return ids

    def steps(self, batch_size: int, epochs: int = 1) -> int:
        """Batches in `epochs` passes over the training examples."""
        return -(-self.examples * epochs // batch_size)

    def batches(self, *, batch_size: int, **reading) -> tf.data.Dataset:
        """Batches of model inputs: `input_word_ids`, `input_mask`, `input_type_ids`, all int32 [batch_size, seq_len].

        The passes follow one another without a gap; the last batch is filled up with rows of padding.

        Args:
            batch_size: rows of a batch.
            shuffle_seed: seed of the order, which differs in each pass: the files are shuffled, then the examples of several
                files together. None, the default: the order of the text.
            epochs: passes; by default 1.
            first_batch: batches to skip; files needed only by them are not read. By default 0.
            held_out: the held-out examples instead of the training examples.
        """
        prepare = lambda rows: _features(rows.ids, rows, self.tokenizer)
        return self._dataset(prepare, _features_signature(batch_size, self.seq_len), batch_size, **reading)

    def masked_batches(self, *, batch_size: int, masking: str = "token", **reading) -> tf.data.Dataset:
        """Batches for masked-LM training: (features, labels int32 [batch_size, P], weights float32 [batch_size, P]).

        The features are those of `batches` and `masked_positions` int32 [batch_size, P]. What is masked depends on the seed,
        the pass and the example alone.

        Args:
            masking: "token" or "whole_word", see `Masking`.
            batch_size, reading: as in `batches`.
        """
        mask = Masking(self.tokenizer, self.seq_len, masking)
        seed = reading.get("shuffle_seed") or 0

        def masked(rows: _Rows):
            random = draw(seed, rows.passes, rows.numbers, self.seq_len)
            ids, positions, labels, weights = mask(rows.ids, random)
            return _features(ids, rows, self.tokenizer) | {"masked_positions": positions}, labels, weights

        shape = (batch_size, mask.max_masked)
        features = _features_signature(batch_size, self.seq_len) | {"masked_positions": tf.TensorSpec(shape, tf.int32)}
        signature = (features, tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32))
        return self._dataset(masked, signature, batch_size, **reading)

    def _dataset(
        self,
        prepare: Callable[[_Rows], Any],
        signature,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        epochs: int = 1,
        first_batch: int = 0,
        held_out: bool = False,
    ) -> tf.data.Dataset:
        files = self.files("held_out" if held_out else "train")
        count = -(-sum(examples for _, examples, _ in files) * epochs // batch_size)

        def batches():
            pieces = self._pieces(files, shuffle_seed, epochs, first_batch * batch_size)
            return map(prepare, _rebatched(pieces, batch_size, self.tokenizer.pad_id))

        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(max(0, count - first_batch)))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _pieces(self, files, seed: int | None, epochs: int, skip: int) -> Iterator[_Rows]:
        """All rows but the first `skip`, in order, those of several files at a time."""
        sizes = np.array([examples for _, examples, _ in files], np.int64)
        first = np.cumsum(sizes) - sizes
        for epoch in range(epochs):
            random = None if seed is None else np.random.default_rng((seed, epoch))
            for window in _windows(sizes, random):
                count = sizes[window].sum()
                # Always drawn, so that the order does not depend on the batches that are skipped.
                order = np.arange(count) if random is None else random.permutation(count)
                if skip < count:
                    ids = np.concatenate([self.read_file(*files[file][:2]) for file in window])
                    numbers = np.concatenate([first[file] + np.arange(sizes[file]) for file in window])
                    order = order[skip:]
                    yield _Rows(ids[order], numbers[order], np.full(len(order), epoch))
                skip = max(0, skip - count)


def _windows(sizes: np.ndarray, random: np.random.Generator | None) -> Iterator[list[int]]:
    """The files that are read together: one by one, or shuffled and as many as make `SHUFFLED_EXAMPLES`."""
    if random is None:
        yield from ([file] for file in range(len(sizes)))
        return
    window, examples = [], 0
    for file in random.permutation(len(sizes)).tolist():
        if window and examples + sizes[file] > SHUFFLED_EXAMPLES:
            yield window
            window, examples = [], 0
        window.append(file)
        examples += sizes[file]
    if window:
        yield window


def _rebatched(pieces: Iterator[_Rows], batch_size: int, pad_id: int) -> Iterator[_Rows]:
    """Batches; what is missing in the last one are rows of padding, with zeros in the other columns."""
    rest: tuple[np.ndarray, ...] | None = None
    for piece in pieces:
        rows = piece if rest is None else [np.concatenate(parts) for parts in zip(rest, piece, strict=True)]
        full = len(rows[0]) // batch_size * batch_size
        for begin in range(0, full, batch_size):
            yield _Rows(*(column[begin : begin + batch_size] for column in rows))
        rest = tuple(column[full:] for column in rows)
    if rest is not None and len(rest[0]):
        missing = batch_size - len(rest[0])
        filled = _Rows(*(np.pad(column, [(0, missing)] + [(0, 0)] * (column.ndim - 1)) for column in rest))
        filled.ids[-missing:] = pad_id
        yield filled


def _features(ids: np.ndarray, rows: _Rows, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Model inputs, int32 [rows, seq_len]. Mask and types depend on the special tokens of the unmasked text."""
    mask = (rows.ids != tokenizer.pad_id) & (rows.ids[:, :1] == tokenizer.cls_id)
    is_sep = rows.ids == tokenizer.sep_id
    # [CLS] A [SEP] B [SEP]: from after the first [SEP] on.
    types = mask & (np.cumsum(is_sep, axis=1) - is_sep > 0)
    columns = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}
    return {name: column.astype(np.int32) for name, column in columns.items()}


def _features_signature(batch_size: int, seq_len: int) -> dict[str, tf.TensorSpec]:
    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {name: tf.TensorSpec((batch_size, seq_len), tf.int32) for name in names}
