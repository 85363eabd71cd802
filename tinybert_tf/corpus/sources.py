"""Where the text comes from: files or TensorFlow Datasets, read as a stream of blocks of one shard each."""

import bz2
import dataclasses
import gzip
import hashlib
import itertools
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tinybert_tf.corpus.settings import CorpusSettings
from tinybert_tf.corpus.text import Text, is_extracted, last_break
from tinybert_tf.errors import InputError

MEGABYTE = 1_000_000
# The first bytes of files that hold no plain text.
_OTHER_FORMATS = {
    b"\x1f\x8b": "packed by gzip; name it .gz",
    b"\xfd7zXZ": "packed by xz; name it .xz",
    b"BZh": "packed by bzip2; name it .bz2",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PAR1": "a Parquet file; write its texts as plain text",
    b'{"': "JSON lines; write its texts as plain text (WikiExtractor: without --json)",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """The text of one shard.

    Attributes:
        name: unique in the corpus, in the order of the text.
        texts: at least one.
        share: how much of the whole source this is, 0 to 1, approximately, for the progress display.
    """

    name: str
    texts: tuple[Text, ...]
    share: float


class TextFiles:
    """Text files. A group, which is read in one go, is one large file or several small ones.

    Raises:
        InputError: a pattern matches no file, or a file is empty; reading: a file holds no text, is of another format, or cannot
            be unpacked.
    """

    def __init__(self, patterns: str, block_bytes: int):
        self.block_bytes = block_bytes
        self.files = _matching_files(patterns)
        self.sizes = [tf.io.gfile.stat(file).length for file in self.files]
        for file, size in zip(self.files, self.sizes, strict=True):
            if not size:
                raise InputError(f"{file}: is empty")

    def groups(self) -> list[tuple[str, ...]]:
        groups, full = [], True
        for file, size in zip(self.files, self.sizes, strict=True):
            if full:
                groups.append([])
                group_bytes = 0
            groups[-1].append(file)
            group_bytes += size
            full = group_bytes >= self.block_bytes
        return [tuple(group) for group in groups]

    def describe(self) -> list[dict[str, Any]]:
        """Name, size and checksum of each file; not its folder, which may change."""
        return [
            {"file": os.path.basename(file), "bytes": size, "sha256": _sha256(file)}
            for file, size in zip(self.files, self.sizes, strict=True)
        ]

    def read(self, group: tuple[str, ...]) -> Iterator[tuple[Text, float]]:
        """The texts of a group, and what share of all files each is."""
        for file in group:
            yield from self._read_file(file)

    def _read_file(self, file: str) -> Iterator[tuple[Text, float]]:
        rest, position, line, stored = b"", 0, 1, 0
        extracted, blank, ended = None, True, False
        with tf.io.gfile.GFile(file, "rb") as raw:
            unpacked = _unpacked(file, raw)
            while not ended:
                wanted = self.block_bytes - len(rest)
                content = _read(file, unpacked, wanted)
                ended = len(content) < wanted
                content = rest + content
                if extracted is None:
                    content = content.removeprefix(b"\xef\xbb\xbf")
                    _check_is_text(file, content)
                    extracted = is_extracted(content)
                end = len(content) if ended else last_break(content, extracted)
                content, rest = content[:end], content[end:]
                if content:
                    share = (raw.tell() - stored) / sum(self.sizes)
                    yield Text(content, file, position, line, extracted), share
                    stored = raw.tell()
                blank = blank and not content.strip()
                position += len(content)
                line += content.count(b"\n")
        if blank:
            raise InputError(f"{file}: holds no text")


def open_source(settings: CorpusSettings):
    """The source that the settings name."""
    block_bytes = max(1, int(settings.shard_mb * MEGABYTE))
    if settings.input is not None:
        return TextFiles(settings.input, block_bytes)
    from tinybert_tf.corpus.tfds import DatasetText

    return DatasetText(settings.tfds, block_bytes)


def read_blocks(source, number: int, group: Any) -> Iterator[Block]:
    """The blocks of one of `source.groups()`, its `number`th.

    Which texts are in which block depends on the source and its `block_bytes` alone. A block has half to one
    and a half times that many bytes, unless it is the last one of its group.
    """
    blocks = itertools.count()
    texts, share, size = [], 0.0, 0
    for text, text_share in source.read(group):
        texts.append(text)
        share += text_share
        size += len(text.content)
        if size >= source.block_bytes / 2:
            yield Block(_name(number, next(blocks)), tuple(texts), share)
            texts, share, size = [], 0.0, 0
    if texts:
        yield Block(_name(number, next(blocks)), tuple(texts), share)


def _name(group: int, block: int) -> str:
    return f"{group:05d}-{block:05d}"


def _matching_files(patterns: str) -> list[str]:
    files: dict[str, None] = {}
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        found = [pattern] if tf.io.gfile.exists(pattern) else sorted(tf.io.gfile.glob(pattern))
        if not found:
            raise InputError("no such file", "input", pattern)
        for file in found:
            if tf.io.gfile.isdir(file):
                raise InputError(f"is a directory; name its files, for example {file.rstrip('/')}/*", "input", file)
        files |= dict.fromkeys(found)
    if not files:
        raise InputError("names no file", "input", patterns)
    return list(files)


def _unpacked(file: str, raw):
    if file.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)
    if file.endswith(".bz2"):
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if file.endswith(".xz") else raw


def _check_is_text(file: str, content: bytes) -> None:
    for beginning, found in _OTHER_FORMATS.items():
        if content.startswith(beginning):
            raise InputError(f"{file}: is no plain text but {found}")


def _read(file: str, unpacked, size: int) -> bytes:
    """Exactly `size` bytes, or the rest."""
    try:
        return unpacked.read(size)
    except (OSError, zlib.error, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{file}: cannot be unpacked ({error})") from None


def _sha256(file: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(file, "rb") as content:
        while chunk := content.read(MEGABYTE):
            digest.update(chunk)
    return digest.hexdigest()
