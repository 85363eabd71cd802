"""The texts that pruning measures importance on."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.data import Example, Tokenizer
from tinybert_tf.data.checks import check_listed
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.split import Split
from tinybert_tf.data.squad import SquadExample, texts_of
from tinybert_tf.errors import InputError

# A text, or a pair of them.
Text = str | tuple[str, str]
# What is taken for texts: texts themselves, and rows of a task.
Row = Text | Example | SquadExample
# Every twentieth text is held out if no other texts are given.
_HELD_OUT_EVERY = 20
_BATCH_SIZE = 32


class Texts:
    """Texts that are read from their source each time they are iterated over.

    Args:
        read: called for each pass; yields texts or pairs.
    """

    def __init__(self, read: Callable[[], Iterator[Text]]):
        self._read = read

    def __iter__(self) -> Iterator[Text]:
        return self._read()


def file_lines(path: str | Path) -> Texts:
    """The lines of a UTF-8 file that are not blank.

    Raises:
        InputError: no such file.
    """
    if not Path(path).is_file():
        raise InputError("no such file; it holds one text a line", "text_file", path)
    return Texts(lambda: (line for _, line in numbered_lines(Path(path)) if line.strip()))


def split_texts(*splits: Split) -> Texts:
    """The texts of a task's splits, or pairs of them."""
    return Texts(lambda: map(texts_of, itertools.chain(*splits)))


def with_held_out(texts: Iterable[Row], held_out: Iterable[Row] | None) -> tuple[Iterable[Text], Iterable[Text]]:
    """`texts` and `held_out`; without the latter every twentieth text is held out, of fewer than twenty none.

    Args:
        texts, held_out: texts, pairs of them, or examples of a task, whose texts are taken.

    Raises:
        InputError: no text, or texts that can be read only once.
    """
    texts = _texts_alone("texts", texts)
    held_out = None if held_out is None else _texts_alone("held_out", held_out)
    if not any(_parts(text) for text in texts):
        raise InputError(
            "there is no text to measure importance on; give some hundred like those that the model will see"
        )
    if held_out is not None:
        return texts, held_out
    if sum(1 for _ in itertools.islice(texts, _HELD_OUT_EVERY)) < _HELD_OUT_EVERY:
        return texts, texts
    numbered = lambda held: (text for number, text in enumerate(texts, 1) if (number % _HELD_OUT_EVERY == 0) == held)
    return Texts(lambda: numbered(False)), Texts(lambda: numbered(True))


def _texts_alone(parameter: str, rows: Iterable[Row]) -> Texts:
    if isinstance(rows, str):
        raise InputError("is one text; give a list of texts, or of a file its lines", parameter)
    check_listed(parameter, rows)
    if iter(rows) is rows:
        raise InputError("can be read only once; give a list, or any object that begins again", parameter)
    return Texts(lambda: (texts_of(row) if isinstance(row, Example | SquadExample) else row for row in rows))


def parts(texts: Iterable[Text]) -> Iterator[str]:
    """The texts, pairs taken apart."""
    return itertools.chain.from_iterable(map(_parts, texts))


def feature_batches(
    texts: Iterable[Text], tokenizer: Tokenizer, seq_len: int, batch_size: int = _BATCH_SIZE
) -> Iterator[dict[str, np.ndarray]]:
    """Model inputs, int32 [batch, longest text], for texts and pairs of them; adjacent inputs of one kind share a batch."""
    for is_pair, group in itertools.groupby(texts, key=lambda text: not isinstance(text, str)):
        while chunk := list(itertools.islice(group, batch_size)):
            columns: Sequence = tuple(zip(*chunk, strict=True)) if is_pair else (chunk,)
            longest = int(tokenizer.encode(*map(list, columns), seq_len=seq_len)[0].bounding_shape(axis=1))
            features = tokenizer(*map(list, columns), seq_len=longest)
            yield {name: value.numpy() for name, value in features.items()}


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)
