"""Questions and contexts as windows of tokens, for networks that answer with a span (Devlin et al. 2019, section 4.2)."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tinybert_tf.data.batching import checked_buckets
from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.squad import SquadExample
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError

# Texts are tokenized this many at a time.
CHUNK = 1024


class Window(NamedTuple):
    """[CLS] question [SEP] the context's tokens [first, last) [SEP]; the first of them has the position `offset`."""

    example: int
    first: int
    last: int
    offset: int
    start: int  # the positions of the answer's first and last token; 0, the [CLS], without an answer
    end: int

    @property
    def length(self) -> int:
        return self.offset + self.last - self.first + 1


class SpanFeatures:
    """Questions tokenized in bulk and cut into windows; everything is held in memory as int32, a context only once.

    A context that is too long is cut into windows that overlap, each of which is an example of its own. Answers that begin
    or end inside a token are widened to it. A window that does not hold the whole answer has no answer.

    Args:
        examples: the questions; of several gold answers the first is the label.
        tokenizer: the model's.
        seq_len: longest window in tokens.
        doc_stride: tokens from the beginning of a window to that of the next; at most half of a window's room.
        max_question_length: tokens of a question that are kept; at most half of a window.

    Attributes:
        examples: the questions, as a list.
        lengths: int32 [windows], tokens of each; those of a question are adjacent, in the order of the questions.

    Raises:
        InputError: a context without a single token; a `seq_len` without room for question and context.
    """

    def __init__(
        self,
        examples: Iterable[SquadExample],
        tokenizer: Tokenizer,
        seq_len: int = 384,
        doc_stride: int = 128,
        max_question_length: int = 64,
    ):
        if seq_len < 8:
            raise InputError("no room for a question and a context; take at least 8", "seq_len", seq_len)
        self.examples = list(examples)
        self.tokenizer, self.seq_len = tokenizer, seq_len
        max_question_length = min(max_question_length, (seq_len - 3) // 2)
        questions = _tokenize([example.question for example in self.examples], tokenizer)
        self._questions = [question.ids[:max_question_length] for question in questions]
        numbers = {text: i for i, text in enumerate(dict.fromkeys(example.context for example in self.examples))}
        contexts = _tokenize(list(numbers), tokenizer)
        self._contexts = [contexts[numbers[example.context]] for example in self.examples]
        windows = (window for i in range(len(self.examples)) for window in self._windows_of(i, doc_stride))
        numbers = itertools.chain.from_iterable(windows)
        self._windows = np.fromiter(numbers, np.int32).reshape(-1, len(Window._fields))
        _, first, last, offset, _, _ = self._windows.T
        self.lengths = offset + last - first + 1

    def batches(
        self,
        *,
        batch_size: int,
        shuffle_seed: int | None = None,
        epochs: int = 1,
        buckets: Sequence[int] | None = None,
        row_numbers: bool = False,
    ) -> tf.data.Dataset:
        """Batches `(features, label, weight)` for Keras, of windows of similar length, as `data.batches` makes them of rows.

        Args:
            batch_size: windows in every batch: the last batch of a bucket is filled with rows of weight 0.
            shuffle_seed: None keeps the order within each bucket. Otherwise each epoch has its own order.
            epochs: passes over the windows. A batch may hold windows of two epochs.
            buckets: lengths to pad to; `(seq_len,)` pads everything to the full length.
            row_numbers: add the number of each window as a fourth element, int32 [batch_size], -1 for filling.

        Returns:
            features: `input_word_ids`, `input_mask`, `input_type_ids`, int32 [batch_size, bucket];
            label: int32 [batch_size, 2], positions of the answer's first and last token; weight: float32 [batch_size].
        """
        if shuffle_seed is not None:
            shuffle_seed = whole_number("shuffle_seed", shuffle_seed, 0)
        buckets = checked_buckets(buckets, self.seq_len)
        _, count = self.count_batches(batch_size=batch_size, epochs=epochs, buckets=buckets)

        def generate():
            for bucket, numbers in self._grouped(batch_size, shuffle_seed, epochs, buckets):
                yield self._batch(numbers, batch_size, bucket)

        names = ("input_word_ids", "input_mask", "input_type_ids")
        signature = (
            {name: tf.TensorSpec([batch_size, None], tf.int32) for name in names},
            tf.TensorSpec([batch_size, 2], tf.int32),
            tf.TensorSpec([batch_size], tf.float32),
            tf.TensorSpec([batch_size], tf.int32),
        )
        dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
        if not row_numbers:
            dataset = dataset.map(lambda features, label, weight, number: (features, label, weight))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def count_batches(
        self, *, batch_size: int, epochs: int = 1, buckets: Sequence[int] | None = None
    ) -> tuple[int, int]:
        """(windows, batches): what `batches` will yield."""
        buckets = np.asarray(checked_buckets(buckets, self.seq_len))
        rows = np.bincount(np.searchsorted(buckets, self.lengths), minlength=len(buckets))
        return len(self.lengths), int(np.ceil(rows * epochs / batch_size).sum())

    def window(self, number: int) -> Window:
        return Window(*self._windows[number].tolist())

    def windows_by_example(self) -> Iterator[list[Window]]:
        """The windows of each question, in the order of `examples`."""
        windows = map(self.window, range(len(self.lengths)))
        return (list(group) for _, group in itertools.groupby(windows, key=lambda window: window.example))

    def text(self, example: int, first: int, last: int) -> str:
        """The text of a context from its token `first` to its token `last`, both included."""
        context = self._contexts[example]
        return self.examples[example].context[context.begins[first] : context.ends[last]]

    def answer_pieces(self, example: int, start: int, end: int) -> tuple[int, int]:
        """The first and the last token that overlap with characters [start, end) of a context."""
        context = self._contexts[example]
        first = int(np.searchsorted(context.ends, start, side="right"))
        return first, int(np.searchsorted(context.begins, end, side="left")) - 1

    def _windows_of(self, number: int, doc_stride: int) -> Iterator[Window]:
        example, pieces = self.examples[number], len(self._contexts[number].ids)
        if not pieces:
            raise InputError(f"question {example.id}: its context has no words; remove it")
        offset = len(self._questions[number]) + 2
        room = self.seq_len - offset - 1
        stride = min(doc_stride, room // 2)
        answer = None
        if example.answers:
            text, start = example.answers[0]
            answer = self.answer_pieces(number, start, start + len(text))
        for first in range(0, max(0, pieces - room) + stride, stride):
            last = min(first + room, pieces)
            start = end = 0
            if answer is not None and first <= answer[0] <= answer[1] < last:
                start, end = (offset + piece - first for piece in answer)
            yield Window(number, first, last, offset, start, end)

    def _grouped(self, batch_size, shuffle_seed, epochs, buckets) -> Iterator[tuple[int, list[int]]]:
        """(bucket, indices of windows): a batch whenever a bucket is full, and at the end the rest of each bucket."""
        bucket_of = np.searchsorted(np.asarray(buckets), self.lengths).tolist()
        waiting: list[list[int]] = [[] for _ in buckets]
        for epoch in range(epochs):
            order = np.arange(len(self.lengths))
            if shuffle_seed is not None:
                order = np.random.default_rng((shuffle_seed, epoch)).permutation(order)
            for number in order.tolist():
                group = waiting[bucket_of[number]]
                group.append(number)
                if len(group) == batch_size:
                    yield buckets[bucket_of[number]], group
                    waiting[bucket_of[number]] = []
        yield from ((bucket, group) for bucket, group in zip(buckets, waiting, strict=True) if group)

    def _batch(self, numbers: list[int], batch_size: int, length: int) -> tuple:
        ids = np.full((batch_size, length), self.tokenizer.pad_id, np.int32)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        label, index = np.zeros((batch_size, 2), np.int32), np.full(batch_size, -1, np.int32)
        for row, number in enumerate(numbers):
            window = self.window(number)
            end = window.length - 1
            ids[row, 0] = self.tokenizer.cls_id
            ids[row, 1 : window.offset - 1] = self._questions[window.example]
            ids[row, [window.offset - 1, end]] = self.tokenizer.sep_id
            ids[row, window.offset : end] = self._contexts[window.example].ids[window.first : window.last]
            types[row, window.offset : window.length] = 1
            mask[row, : window.length] = 1
            label[row], index[row] = (window.start, window.end), number
        features = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}
        return features, label, (index >= 0).astype(np.float32), index


class _Tokens(NamedTuple):
    """A text's tokens, and the characters [begin, end) of each; all int32 [(tokens)]."""

    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def _tokenize(texts: list[str], tokenizer: Tokenizer) -> list[_Tokens]:
    found = []
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        ragged = tokenizer.tokenize_with_offsets(chunk)
        splits = ragged[0].row_splits.numpy()
        ids, begins, ends = (part.flat_values.numpy().astype(np.int32) for part in ragged)
        for text, first, last in zip(chunk, splits, splits[1:], strict=False):
            found.append(_in_characters(text, _Tokens(ids[first:last], begins[first:last], ends[first:last])))
    return found


def _in_characters(text: str, tokens: _Tokens) -> _Tokens:
    """Offsets into the UTF-8 bytes of a text, turned into offsets into its characters."""
    if text.isascii():
        return tokens
    first_bytes = (np.frombuffer(text.encode("utf-8"), np.uint8) & 0xC0) != 0x80
    characters_before = np.append(0, np.cumsum(first_bytes)).astype(np.int32)
    return tokens._replace(begins=characters_before[tokens.begins], ends=characters_before[tokens.ends])
