"""WordPiece inside the tf.data graph."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.mediapipe import NUL, OTHER_CONTROL, MediaPipeWordPiece
from tinybert_tf.errors import InputError
from tinybert_tf.presets import locate
from tinybert_tf.tokenizer_files import open_vocabulary, read_vocabulary
from tinybert_tf.vocabulary import AddedToken, Vocabulary

# The tokenizer and the functions of datasets branch on Python values alone; AutoGraph's conversion would take most of the time
# to their first batch.
without_autograph = tf.autograph.experimental.do_not_convert

# Marks added tokens. BERT removes control characters from texts, so replacing one by another changes nothing.
_MARK = "\x01"


class Tokenizer:
    """BERT's tokenizer; every method takes and returns tensors and works inside `Dataset.map`.

    ```python
    tokenizer = tb.Tokenizer.from_directory("bert-finetuned")
    inputs = tokenizer(["a fine day"], seq_len=16)  # input_word_ids, input_mask, input_type_ids: int32 [1, 16]
    ```

    Args:
        vocabulary: a `Vocabulary`, or a file with one word a line in the order of their ids.
        lower_case: lower-case texts and remove their accents, as for bert-base-uncased. None, the default: as the `Vocabulary`
            says; for a file, unless its words have capital letters.

    Raises:
        InputError: the file is missing, empty, not UTF-8, has a word twice, or lacks a special token.
    """

    def __init__(self, vocabulary: str | Path | Vocabulary, lower_case: bool | None = None):
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = read_vocabulary(vocabulary, lower_case)
        self.spec = vocabulary
        self.vocab_file = Path(vocabulary.source)
        self.lower_case = vocabulary.lower_case
        self.vocabulary = list(vocabulary.words)
        self.vocab_size = len(self.vocabulary)
        ids = vocabulary.ids
        self.pad_id, self.unk_id, self.cls_id = ids["[PAD]"], ids["[UNK]"], ids["[CLS]"]
        self.sep_id, self.mask_id = ids["[SEP]"], ids["[MASK]"]
        # TensorFlow Text has one switch for both; where they differ, texts are prepared before it.
        self._prepares = vocabulary.lower_case != vocabulary.strip_accents and vocabulary.normalization == "bert"
        self._added = _AddedTokens(vocabulary) if vocabulary.added else None
        try:
            if vocabulary.normalization == "mediapipe":
                self._wordpiece = MediaPipeWordPiece(self.vocabulary)
            else:
                self._wordpiece = tf_text.FastBertTokenizer(
                    vocab=self.vocabulary,
                    token_out_type=tf.int32,
                    lower_case_nfd_strip_accents=vocabulary.lower_case and vocabulary.strip_accents,
                )
        except (RuntimeError, ValueError, tf.errors.OpError) as error:  # such as one of special tokens alone
            raise InputError(f"{self.vocab_file}: TensorFlow Text cannot use this vocabulary ({error})") from None

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Tokenizer":
        """The tokenizer of a model directory; see `open_vocabulary`."""
        return cls(open_vocabulary(locate(directory) or directory))

    @without_autograph
    def tokenize(self, texts) -> tf.RaggedTensor:
        """Strings [B] -> ragged int32 word pieces [B, (pieces)], no special tokens."""
        if self._added or self._prepares:
            return self.tokenize_with_offsets(texts)[0]
        return self._wordpiece.tokenize(texts)

    @without_autograph
    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """As `tokenize`, with the begin and end of each token in the UTF-8 bytes of its text: (tokens, begins, ends)."""
        return self._added(texts, self._plain) if self._added else self._plain(texts)

    def _plain(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Tokens and offsets of texts without added tokens."""
        if not self._prepares:
            return self._wordpiece.tokenize_with_offsets(texts)
        prepared, source_begin, source_end = _prepared(texts, self.spec.lower_case)
        pieces, begins, ends = self._wordpiece.tokenize_with_offsets(prepared)
        first_byte = tf.gather(source_begin.row_starts(), begins.value_rowids())
        begins = begins.with_values(tf.gather(source_begin.flat_values, begins.flat_values + first_byte))
        ends = ends.with_values(tf.gather(source_end.flat_values, ends.flat_values + first_byte - 1))
        return pieces, begins, ends

    @without_autograph
    def encode(self, texts, text_pairs=None, seq_len: int = 128) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Strings [B], and optionally their second halves [B] -> ragged int32 (word ids, type ids) [B, (<= seq_len)].

        [CLS] first [SEP], or [CLS] first [SEP] second [SEP]; a pair that is too long loses tokens of its longer side first.
        Texts are cut at their end, or at their beginning with `truncation_side="left"` in the vocabulary.

        Raises:
            InputError: a single string or something that is no text, unequal numbers of texts, or a length without room for
                the special tokens.
            tf.errors.InvalidArgumentError: unequal numbers of texts that are known only when a graph runs.
        """
        seq_len = whole_number("seq_len", seq_len, least=2 if text_pairs is None else 3)
        texts = _checked_texts("texts", texts)
        if text_pairs is None:
            segments = [self.truncated(self.tokenize(texts), seq_len - 2)]
        else:
            both = _equally_many(texts, _checked_texts("text_pairs", text_pairs))
            segments = [self.tokenize(side) for side in both]
            kept = tf_text.RoundRobinTrimmer(max_seq_length=seq_len - 3).trim(segments)
            if self.spec.truncation_side == "right":
                segments = kept
            else:
                lengths = (segment.row_lengths() for segment in kept)
                segments = [_last(segment, length) for segment, length in zip(segments, lengths, strict=True)]
        return tf_text.combine_segments(segments, start_of_sequence_id=self.cls_id, end_of_segment_id=self.sep_id)

    def truncated(self, rows: tf.RaggedTensor, room: int) -> tf.RaggedTensor:
        """Rows [B, (length)] -> [B, (<= room)], cut at the vocabulary's `truncation_side`."""
        return rows[:, :room] if self.spec.truncation_side == "right" else _last(rows, room)

    @without_autograph
    def __call__(self, texts, text_pairs=None, seq_len: int = 128) -> dict[str, tf.Tensor]:
        """Model inputs, all int32 [B, seq_len]; see `encode`."""
        word_ids, type_ids = self.encode(texts, text_pairs, seq_len)
        shape = (None, seq_len)
        return {
            "input_word_ids": word_ids.to_tensor(self.pad_id, shape=shape),
            "input_mask": tf.ones_like(word_ids).to_tensor(0, shape=shape),
            "input_type_ids": type_ids.to_tensor(0, shape=shape),
        }


def check_tokenizer(tokenizer: Any) -> None:
    """Raises InputError for what is no `Tokenizer`, such as the name of its directory."""
    if not isinstance(tokenizer, Tokenizer):
        directory = f'"{tokenizer}"' if isinstance(tokenizer, str | os.PathLike) else "directory"
        kind = type(tokenizer).__name__
        raise InputError(f"is a {kind}; give `tb.Tokenizer.from_directory({directory})`", "tokenizer")


def _checked_texts(parameter: str, texts) -> tf.Tensor:
    """Strings [B]; InputError for anything else."""
    try:
        texts = tf.convert_to_tensor(texts, tf.string)
    except (TypeError, ValueError) as error:
        raise InputError(f"must be a list or an array of strings ({error})", parameter) from None
    if texts.shape.rank not in (None, 1):
        found = "is one text" if texts.shape.rank == 0 else f"has {texts.shape.rank} dimensions"
        raise InputError(f"{found}; give a list of texts", parameter)
    return tf.ensure_shape(texts, [None])


def _equally_many(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Strings [B] and [B]. TensorFlow Text does not compare the numbers of rows: it reads beyond the end of the shorter."""
    counts = first.shape[0], second.shape[0]
    if None not in counts:
        if counts[0] != counts[1]:
            raise InputError(
                f"has {counts[1]} texts, but `texts` has {counts[0]}; give each text its own", "text_pairs"
            )
        return first, second
    message = "text_pairs: there must be one for each of `texts`"
    with tf.control_dependencies([tf.debugging.assert_equal(tf.size(first), tf.size(second), message)]):
        return tf.identity(first), tf.identity(second)


class _AddedTokens:
    """Splits texts around the tokens that are kept whole."""

    def __init__(self, vocabulary: Vocabulary):
        added = sorted(vocabulary.added, key=lambda token: -len(token.content))  # the longest match wins
        any_case = [token.normalized and vocabulary.lower_case for token in added]
        self._pattern = f"({'|'.join(map(_pattern, added, any_case))})"
        # Alone a token has no words around it.
        self._whole = [
            _pattern(dataclasses.replace(t, single_word=False), folds) for t, folds in zip(added, any_case, strict=True)
        ]
        self._ids = [vocabulary.ids[token.content] for token in added]

    def __call__(self, texts, tokenize) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """(pieces, begins, ends) of texts [B]; `tokenize` makes them of the text between the tokens."""
        texts = tf.strings.regex_replace(texts, _MARK, OTHER_CONTROL)
        marked = tf.strings.regex_replace(texts, self._pattern, rf"{_MARK}\1{_MARK}")
        parts = tf.strings.split(marked, _MARK)  # [B, (parts)]: text, token, text, token, ..., text
        part, row = parts.flat_values, parts.value_rowids()
        is_token = (tf.range(tf.size(row, tf.int64)) - tf.gather(parts.row_starts(), row)) % 2 == 1

        length = _bytes(part)
        before = tf.cumsum(length, exclusive=True)
        begin = before - tf.gather(before, tf.gather(parts.row_starts(), row))  # within its text
        token = tf.boolean_mask(part, is_token)
        found = tf.stack([tf.strings.regex_full_match(token, pattern) for pattern in self._whole], axis=1)
        ids = tf.gather(self._ids, tf.argmax(found, axis=1))

        def merged(values: tf.RaggedTensor, of_tokens) -> tf.RaggedTensor:
            """Values of pieces [parts, (pieces)] and of tokens [tokens] -> [B, (pieces)]."""
            both = tf.concat([values, tf.RaggedTensor.from_row_lengths(of_tokens, tf.cast(is_token, tf.int64))], axis=1)
            return tf.RaggedTensor.from_row_splits(both.flat_values, tf.gather(both.row_splits, parts.row_splits))

        pieces, begins, ends = tokenize(tf.where(is_token, "", part))
        begins, ends = (values + tf.cast(begin, values.dtype)[:, None] for values in (begins, ends))
        begin, end = (tf.boolean_mask(values, is_token) for values in (begin, begin + length))
        return merged(pieces, ids), merged(begins, begin), merged(ends, end)


def _pattern(token: AddedToken, any_case: bool) -> str:
    """A regular expression of RE2 for a token."""
    pattern = re.escape(token.content)
    if token.single_word:  # RE2 supports word boundaries for ASCII only
        first, last = (re.match(r"\w", end, re.ASCII) is not None for end in (token.content[0], token.content[-1]))
        pattern = (r"\b" if first else "") + pattern + (r"\b" if last else "")
    return f"(?i:{pattern})" if any_case else pattern


def _prepared(texts, lower_case: bool) -> tuple[tf.Tensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Texts [B] in lower case or else without accents; for each of their bytes [B, (bytes)], begin and end of its character
    in the original text.

    Character by character, as the `tokenizers` library does it.
    """
    characters = tf.strings.unicode_split(tf.strings.regex_replace(texts, NUL, OTHER_CONTROL), "UTF-8")
    old = characters.flat_values
    if lower_case:
        new = tf.strings.lower(old, "utf-8")
    else:
        new = tf.strings.regex_replace(tf_text.normalize_utf8(old, "NFD"), r"\p{Mn}", "")
    prepared = tf.strings.reduce_join(characters.with_values(new), axis=1)
    before, row = tf.cumsum(_bytes(old), exclusive=True), characters.value_rowids()
    begin = before - tf.gather(before, tf.gather(characters.row_starts(), row))
    begin, end = (
        tf.RaggedTensor.from_row_lengths(tf.repeat(place, _bytes(new)), _bytes(prepared))
        for place in (begin, begin + _bytes(old))
    )
    return prepared, begin, end


def _bytes(texts) -> tf.Tensor:
    return tf.cast(tf.strings.length(texts), tf.int64)


def _last(rows: tf.RaggedTensor, count) -> tf.RaggedTensor:
    """The last `count` values of each row, a number or one a row [B]."""
    lengths = rows.row_lengths()
    place = tf.ragged.range(lengths)
    return tf.ragged.boolean_mask(rows, place >= tf.expand_dims(tf.maximum(lengths - tf.cast(count, tf.int64), 0), 1))
