"""Text from TensorFlow Datasets."""

import re
from collections.abc import Iterator
from typing import Any

from tinybert_tf.corpus.text import Text
from tinybert_tf.data.tfds import fetched_builder, first_line
from tinybert_tf.errors import InputError

DATASETS = ("wikipedia", "wiki40b", "lm1b")
_BLANK_LINES = re.compile(rb"\n\s*\n")


class DatasetText:
    """The training split of a data set, each row a document. A group is one of its files.

    Args:
        name: wikipedia, wiki40b or lm1b, optionally with configuration and version: "wikipedia/20230601.en".
        block_bytes: how much text is read at a time.

    Raises:
        InputError: another data set, or one that is neither prepared here nor can be fetched.
    """

    def __init__(self, name: str, block_bytes: int):
        self.dataset, self.block_bytes = name.split("/")[0].split(":")[0], block_bytes
        if self.dataset not in DATASETS:
            raise InputError(f"must be one of {', '.join(DATASETS)}; give other text with `input`", "tfds", name)
        try:
            self._builder = fetched_builder(name)
        except Exception as error:  # every error here (network, disk, unknown configuration) has the same remedy
            raise InputError(
                f"TensorFlow Datasets cannot provide {name} ({first_line(error)}); give text files with `input`"
            ) from None
        self._split = self._builder.info.splits["train"]

    def groups(self) -> list[int]:
        return list(range(self._split.num_shards))

    def describe(self) -> dict[str, Any]:
        """Name with configuration and version, and rows of each file."""
        return {"tfds": self._builder.info.full_name, "rows": list(self._split.shard_lengths)}

    def read(self, group: int) -> Iterator[tuple[Text, float]]:
        """The texts of a group, and what share of the whole each is."""
        rows = self._builder.as_dataset(split=f"train[{group}shard:{group + 1}shard]", shuffle_files=False)
        documents, size = [], 0
        for row in rows.as_numpy_iterator():
            documents.append(plain_lines(row["text"], self.dataset))
            size += len(documents[-1])
            if size >= self.block_bytes:
                yield self._text(documents, group)
                documents, size = [], 0
        if documents:
            yield self._text(documents, group)

    def _text(self, documents: list[bytes], group: int) -> tuple[Text, float]:
        source = f"{self._builder.info.full_name}, file {group}"
        return Text(b"\n\n".join(documents), source), len(documents) / self._split.num_examples


def plain_lines(text: bytes, dataset: str) -> bytes:
    """A row as lines of text without blank ones, as in a plain file; wiki40b's markers become line breaks, and its titles
    are removed.
    """
    if dataset == "wiki40b":
        text = re.sub(rb"_START_ARTICLE_\n[^\n]*", b"", text)
        text = re.sub(rb"_START_SECTION_|_START_PARAGRAPH_|_NEWLINE_", b"\n", text)
    return _BLANK_LINES.sub(b"\n", text.strip())
