"""Finds the largest network whose file is small or fast enough."""

import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinybert_tf.bert import BertConfig, BertModel, build_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import benchmark, export_tflite
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.vocabulary import indispensable
from tinybert_tf.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# Steps of the search: each vocabulary is this share of the one before, heads lose a dimension at a time.
_VOCABULARY_STEP = 0.8
_NARROWEST_HEAD = 4
_RUNS = 50


@dataclasses.dataclass(frozen=True)
class Target:
    """Limits of the int8 file.

    Attributes:
        mb: its size in millions of bytes, vocabulary included; ms: median time of a text of `seq_len` tokens on one thread of
            this machine. None: any.
        seq_len: the length of its input.
        texts: to calibrate it with.
    """

    mb: float | None
    ms: float | None
    seq_len: int
    texts: Sequence[str | tuple[str, str]]

    def measure(self, model: BertModel, vocabulary: Vocabulary) -> tuple[float, float | None]:
        """(mb, ms) of a network's int8 file; ms only where it counts."""
        with tempfile.TemporaryDirectory() as folder:
            vocabulary.write(folder)
            path = Path(folder) / "model.tflite"
            report = export_tflite(
                model, path, seq_len=self.seq_len, quantize="int8", tokenizer_from=folder, calibration_texts=self.texts
            )
            ms = None if self.ms is None else benchmark([path], runs=_RUNS)[0].median_ms
        logger.info("%s: %.2f MB%s", _shown(model.config), report.mb, "" if ms is None else f", {ms:.2f} ms")
        return report.mb, ms

    def holds(self, measured: tuple[float, float | None]) -> bool:
        """Whether a file with these measurements is within the limits."""
        mb, ms = measured
        return (self.mb is None or mb <= self.mb) and (self.ms is None or ms <= self.ms)

    def unreachable(self, measured: tuple[float, float | None], config: BertConfig, words: int) -> InputError:
        """The error for a target that the smallest network tried, of this configuration and with so many words, does not hold."""
        mb, ms = measured
        name = "target_mb" if self.mb is not None and mb > self.mb else "target_ms"
        reached, wanted = (f"{mb:.3f} MB", self.mb) if name == "target_mb" else (f"{ms:.3f} ms", self.ms)
        return InputError(
            f"cannot be reached: the smallest network tried, {_shown(config)} with {words} word pieces, has an int8 file of "
            f"{reached}; allow more, or give smaller sizes",
            name,
            wanted,
        )


def sizes_for(target: Target, model: BertModel, vocabulary: Vocabulary, sizes: Sizes) -> list[Sizes]:
    """Sizes of networks whose files hold a target, the largest first, then the next smaller ones.

    Sizes that are given stay. Of the others the vocabulary is cut first, where megabytes count, then the width with its heads
    and neurons down to a half, then the layers down to a half, then the width again. Files of untrained networks are measured:
    size and time do not depend on what the weights are.

    Raises:
        InputError: even the smallest network does not hold it.
    """
    required = len(indispensable(vocabulary.words, {token.content for token in vocabulary.added}))
    ladder = _ladder(model.config, sizes, required, shortens_vocabulary=target.mb is not None)

    def measured(step: int) -> tuple[float, float | None]:
        config = ladder[step].applied(model.config)
        words = _some_words(vocabulary, ladder[step].vocab_size or len(vocabulary.words))
        config = config.replace(vocab_size=len(words.words), pad_token_id=words.ids["[PAD]"])
        return target.measure(build_model(config, model.head), words)

    smallest = measured(len(ladder) - 1)
    if not target.holds(smallest):
        words = ladder[-1].vocab_size or len(vocabulary.words)
        raise target.unreachable(smallest, ladder[-1].applied(model.config), words)
    too_large, holds = -1, len(ladder) - 1
    while holds - too_large > 1:
        middle = (too_large + holds) // 2
        too_large, holds = (too_large, middle) if target.holds(measured(middle)) else (middle, holds)
    return ladder[holds:]


def _ladder(config: BertConfig, sizes: Sizes, required: int, shortens_vocabulary: bool) -> list[Sizes]:
    """The given size and smaller ones."""
    steps = [sizes]

    def descend(**changes: int) -> None:
        changes = {name: value for name, value in changes.items() if name not in sizes.given}
        if changes and dataclasses.replace(steps[-1], **changes) != steps[-1]:
            steps.append(dataclasses.replace(steps[-1], **changes))

    words = config.vocab_size
    while shortens_vocabulary and words > 2 * required:
        words = max(int(words * _VOCABULARY_STEP), 2 * required)
        descend(vocab_size=words)
    heads = sizes.num_attention_heads or config.num_attention_heads
    widest = (sizes.hidden_size or config.hidden_size) // heads

    def narrow(first: int, last: int) -> None:
        for size in range(first, last - 1, -1):
            share = size / widest
            neurons = max(8, round((sizes.intermediate_size or config.intermediate_size) * share / 8) * 8)
            descend(hidden_size=heads * size, intermediate_size=min(neurons, config.intermediate_size))

    half = max(widest // 2, _NARROWEST_HEAD)
    narrow(widest - 1, half)
    layers = sizes.num_hidden_layers or config.num_hidden_layers
    for count in range(layers - 1, -(-layers // 2) - 1, -1):
        descend(num_hidden_layers=count)
    narrow(half - 1, _NARROWEST_HEAD)
    return steps


def _some_words(vocabulary: Vocabulary, count: int) -> Vocabulary:
    """A vocabulary of that many words, for measuring: the choice of words hardly changes a file's size."""
    kept = indispensable(vocabulary.words, {token.content for token in vocabulary.added})
    others = [word for word in vocabulary.words if word not in kept][: count - len(kept)]
    kept.update(others)
    return dataclasses.replace(vocabulary, words=tuple(word for word in vocabulary.words if word in kept))


def _shown(config: BertConfig) -> str:
    sizes = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    return "x".join(map(str, sizes))
