"""The weights that a scored stage keeps, where they are not those of its last step: averaged, rounded, or both."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.train.averaging import AveragedWeights
from tinybert_tf.train.quantization import QuantizeAware


class KeptWeights:
    """What is scored and saved of a network that trains.

    Args:
        rounding: trains the network through the rounding of a file; None: it is not rounded.
        average: of the network's weights; None: they are kept as they are.

    Attributes:
        callbacks: of the training. `rounding` leaves the exact weights behind a step, which `average` then reads.
        state: what a resumed training needs beside the network's weights.
    """

    def __init__(self, rounding: QuantizeAware | None, average: AveragedWeights | None):
        self._rounding, self._average = rounding, average
        self.callbacks: Sequence[keras.callbacks.Callback] = [part for part in (rounding, average) if part is not None]
        self.state: Sequence[tf.Variable] = [variable for part in self.callbacks for variable in part.state]

    @contextlib.contextmanager
    def in_network(self) -> Iterator[None]:
        """Inside this context the network has the weights to keep: averaged, then rounded."""
        with contextlib.ExitStack() as stack:
            if self._average is not None:
                stack.enter_context(self._average.averaged())
            if self._rounding is not None:
                stack.enter_context(self._rounding.rounded())
            yield

    def mark(self, directory: Path) -> None:
        """Records in a model directory what rounding its weights were trained with."""
        if self._rounding is not None:
            self._rounding.mark(directory)
