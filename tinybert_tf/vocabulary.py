"""A model's words in the order of their ids, and how it normalizes texts."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from tinybert_tf.errors import InputError
from tinybert_tf.files import write_json

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY_FILE, SETTINGS_FILE = "vocab.txt", "tokenizer_config.json"
SIDES = ("right", "left")
NORMALIZATIONS = ("bert", "mediapipe")
_NORMALIZING = ("normalization", "lower_case", "strip_accents")


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """An entry that is never split in a text.

    Attributes:
        content: the characters.
        normalized: matched after lower-casing, if the vocabulary is lower case.
        single_word: only where neither an ASCII letter nor a digit is next to it.
    """

    content: str
    normalized: bool = False
    single_word: bool = False


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their ids, and the normalization of texts.

    Attributes:
        source: the file that the words are from, for messages.
        words: all entries, the added ones included.
        lower_case: texts are lower-cased.
        strip_accents: accents are removed; `transformers` does so with `lower_case` unless it is set.
        added: the entries that are never split in a text. BERT's five special tokens are not among them: "[SEP]" in a text
            is split like any other characters, as by the tokenizers of MediaPipe and the Task Library.
        truncation_side: "right" or "left", the side at which too long a text is cut.
        normalization: "bert", or "mediapipe" for that of MediaPipe's tasks and the Task Library: only
            ASCII is lower-cased, and accents, soft hyphens, zero-width and full-width characters stay.
        file_words: the entries in the order of the files, if that is MPNet's order and not that of `words`.
    """

    source: str
    words: tuple[str, ...]
    lower_case: bool = True
    strip_accents: bool = True
    added: tuple[AddedToken, ...] = ()
    truncation_side: str = "right"
    normalization: str = "bert"
    file_words: tuple[str, ...] | None = None

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def with_truncation(self, side: str) -> "Vocabulary":
        """The same with another `truncation_side`. Raises InputError for anything but "right" and "left"."""
        if side not in SIDES:
            raise InputError(f"must be {' or '.join(SIDES)}", "truncate", side)
        return dataclasses.replace(self, truncation_side=side)

    def with_normalization(self, name: str) -> "Vocabulary":
        """The same with another `normalization`.

        Raises:
            InputError: an unknown one, or "mediapipe" for a cased vocabulary.
        """
        if name not in NORMALIZATIONS:
            raise InputError(f"must be {' or '.join(NORMALIZATIONS)}", "normalization", name)
        if name == "mediapipe" and not self.lower_case:
            raise InputError(
                f"MediaPipe lower-cases every text, but {self.source} is cased; take a vocabulary of lower case",
                "normalization",
                name,
            )
        strip_accents = self.strip_accents
        if name != self.normalization:
            strip_accents = name == "bert" and self.lower_case
        return dataclasses.replace(self, normalization=name, strip_accents=strip_accents)

    def write(self, directory: str | Path, max_length: int | None = None, **settings: Any) -> None:
        """Writes vocab.txt and tokenizer_config.json, which `open_vocabulary` and `transformers` read.

        Args:
            directory: an existing one.
            max_length: the model's positions, by default left out.
            settings: further ones for tokenizer_config.json.
        """
        (Path(directory) / VOCABULARY_FILE).write_bytes(self.content())
        write_json(Path(directory) / SETTINGS_FILE, self.settings(max_length) | settings)

    def unusual_settings(self) -> dict[str, Any]:
        """How texts are prepared otherwise than BERT's tokenizer does by default, under the names of tokenizer_config.json."""
        settings: dict[str, Any] = {}
        if self.strip_accents != self.lower_case:
            settings["strip_accents"] = self.strip_accents
        if self.truncation_side != "right":
            settings["truncation_side"] = self.truncation_side
        if self.normalization != "bert":
            # transformers does not read it; strip_accents is an approximation.
            settings["normalization"] = self.normalization
        return settings

    def content(self) -> bytes:
        """The contents of vocab.txt."""
        return "".join(f"{word}\n" for word in self.words).encode("utf-8")

    def settings(self, max_length: int | None = None) -> dict[str, Any]:
        """The contents of tokenizer_config.json."""
        settings: dict[str, Any] = {"tokenizer_class": "BertTokenizer", "do_lower_case": self.lower_case}
        settings |= self.unusual_settings()
        if max_length:
            settings["model_max_length"] = max_length
        if self.added:
            flags = {"lstrip": False, "rstrip": False}
            settings["added_tokens_decoder"] = {
                str(self.ids[token.content]): dataclasses.asdict(token) | flags | {"special": not token.normalized}
                for token in self.added
            }
        return settings


def differing_settings(vocabulary: Vocabulary, other: Vocabulary) -> list[tuple[str, Any, Any]]:
    """(name, value, value of the other) of the settings by which the two normalize a text differently."""
    values = [(name, getattr(vocabulary, name), getattr(other, name)) for name in _NORMALIZING]
    return [(name, ours, theirs) for name, ours, theirs in values if ours != theirs]
