"""From a block of text to a shard of examples, in TFRecord files."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tinybert_tf.corpus.packing import assemble, contiguous_spans, document_spans
from tinybert_tf.corpus.settings import CorpusSettings
from tinybert_tf.corpus.sources import Block
from tinybert_tf.corpus.text import documents
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.files import parse_json_object, writing
from tinybert_tf.vocabulary import Vocabulary

FEATURE = "word_ids"
SPLITS = ("train", "held_out")
UNFINISHED = "unfinished"
MANIFEST, JOB = "manifest.json", f"{UNFINISHED}/job.json"
# Word ids hardly compress; more effort costs more time than it saves space.
_OPTIONS = tf.io.TFRecordOptions("GZIP", compression_level=1)
# The space between two sentences. The pattern starts with characters that are fast to search for.
_BETWEEN_SENTENCES = re.compile(rb" (?<=[.!?] )(?=[^a-z ])")


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that a shard depends on besides its text; sent to other processes and machines."""

    settings: CorpusSettings
    vocabulary: Vocabulary

    @property
    def tokenizer(self) -> Tokenizer:
        return _tokenizer(self.vocabulary)


_tokenizer = functools.lru_cache(maxsize=1)(Tokenizer)


def note_file(name: str) -> str:
    """The file that marks the shard `name` as done until the corpus is complete."""
    return f"{UNFINISHED}/shard-{name}.json"


def noted_shards(output_dir: str) -> dict[str, dict[str, Any]]:
    """The shards that are done: their names and entries, in order."""
    noted = {}
    for path in sorted(tf.io.gfile.glob(os.path.join(output_dir, note_file("*")))):
        noted[os.path.basename(path).removeprefix("shard-").removesuffix(".json")] = read_record(path)
    return noted


def read_record(path: str) -> dict[str, Any]:
    """The JSON object in `path`, which may be in a bucket."""
    with tf.io.gfile.GFile(path) as file:
        return parse_json_object(file.read(), path, "remove the directory and make the corpus again")


def pack(job: Job, block: Block) -> tuple[np.ndarray, dict[str, int]]:
    """The block's examples, uint16 or int32 [examples, max_seq_length], and counts of `documents` and `tokens`.

    `tokens` are those of the text, before packing and without special tokens.
    """
    settings, tokenizer = job.settings, job.tokenizer
    sentences, document_ends = [], []
    for text in block.texts:
        for lines in documents(text):
            if settings.packing == "documents":
                sentences += [sentence for line in lines for sentence in _BETWEEN_SENTENCES.split(line)]
            else:
                sentences += lines
            document_ends.append(len(sentences))
    tokens = tokenizer.tokenize(sentences or [""])
    sentence_ends = tokens.row_splits.numpy()[1:]
    document_ends = sentence_ends[np.asarray(document_ends, np.int64) - 1]
    if settings.packing == "documents":
        random = np.random.default_rng([settings.seed, *map(int, block.name.split("-"))])
        spans = document_spans(sentence_ends, document_ends, settings.max_seq_length, settings.short_seq_prob, random)
    else:
        spans = contiguous_spans(document_ends, settings.max_seq_length)
    ids = assemble(
        tokens.flat_values.numpy().astype(id_type(tokenizer.vocab_size)),
        spans,
        settings.max_seq_length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    return ids, {"documents": len(document_ends), "tokens": int(sentence_ends[-1])}


def id_type(vocab_size: int) -> np.dtype:
    """The smaller integer type that holds the word ids."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<i4")


def write_shard(job: Job, block: Block) -> dict[str, Any]:
    """Makes the shard of a block: train-NAME.tfrecord.gz and held_out-NAME.tfrecord.gz in the output directory.

    The last examples are held out: whole documents, except for one. A shard of one example has none.

    Returns:
        the shard's entry in the manifest, also written to the output directory: `documents`, `tokens`, and for `train`
        and `held_out`, if they have examples, `file`, `examples`, `bytes`.
    """
    output_dir = job.settings.output_dir
    ids, entry = pack(job, block)
    held_out = min(int(np.ceil(len(ids) * job.settings.held_out)), max(0, len(ids) - 1))
    for split, rows in zip(SPLITS, (ids[: len(ids) - held_out], ids[len(ids) - held_out :]), strict=True):
        if len(rows):
            file = f"{split}-{block.name}.tfrecord.gz"
            entry[split] = {"file": file, "examples": len(rows), "bytes": _write_records(output_dir, file, rows)}
    # Written last: it marks the shard as done.
    write_bytes(output_dir, note_file(block.name), json.dumps(entry).encode())
    return entry


def _write_records(output_dir: str, name: str, rows: np.ndarray) -> int:
    """Each row as a `tf.train.Example` with one feature, the bytes of its ids; the size of the file."""
    payload = bytes(rows[0].nbytes)
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[payload]))
    record = tf.train.Example(features=tf.train.Features(feature={FEATURE: feature})).SerializeToString()
    # All rows have the same length, so the bytes before the ids are the same in all records.
    before = record.removesuffix(payload)
    with _atomic_write(output_dir, name) as aside, tf.io.TFRecordWriter(aside, _OPTIONS) as writer:
        for row in rows:
            writer.write(before + row.tobytes())
    return tf.io.gfile.stat(os.path.join(output_dir, name)).length


def read_records(path: str, seq_len: int, dtype: np.dtype) -> np.ndarray:
    """The word ids of a file, `dtype` [examples, seq_len]."""
    features = {FEATURE: tf.io.FixedLenFeature([], tf.string)}
    dataset = tf.data.TFRecordDataset(path, "GZIP", buffer_size=1 << 20).batch(4096)
    records = [tf.io.parse_example(batch, features)[FEATURE].numpy() for batch in dataset]
    return np.frombuffer(b"".join(record for batch in records for record in batch), dtype).reshape(-1, seq_len)


def write_bytes(output_dir: str, name: str, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    with _atomic_write(output_dir, name) as aside, tf.io.gfile.GFile(aside, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def _atomic_write(output_dir: str, name: str) -> Iterator[str]:
    """As `files.atomic_write`, on any file system; another machine may be writing the same file."""
    path, aside = os.path.join(output_dir, name), os.path.join(output_dir, UNFINISHED, f"{uuid.uuid4().hex}.partial")
    with writing(path):
        try:
            yield aside
            tf.io.gfile.rename(aside, path, overwrite=True)
        finally:
            if tf.io.gfile.exists(aside):
                tf.io.gfile.remove(aside)
