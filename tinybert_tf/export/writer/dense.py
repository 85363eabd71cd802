"""Dense layers of a file: the weights in the mode's type, rounded once for the graphs of all lengths."""

from collections.abc import Mapping

import numpy as np

from tinybert_tf.export.writer.builder import INT4, GraphBuilder, Tensor
from tinybert_tf.export.writer.quantization import INTEGER_BITS, QuantizationMode, Range, SeenInput, quantized
from tinybert_tf.export.writer.tables import ONE
from tinybert_tf.export.writer.weights import Matrix
from tinybert_tf.progress import Progress

# Smaller matrices stay float32, except in static attention: quantizing them saves nothing.
FEWEST_QUANTIZED = 1024


class DenseWriter:
    """Writes dense layers into graphs. A layer is known by its name, the scope that it stands in.

    Args:
        mode: how numbers are stored and computed.
        seen: what layers read on example texts, by name; their weights are rounded for it.
    """

    def __init__(self, mode: QuantizationMode, seen: Mapping[str, SeenInput] | None = None):
        self.mode, self.seen = mode, seen or {}
        self._quantized: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        # Rounding for the answers is what takes time.
        self._slow = {name for name, layer in self.seen.items() if _is_rounded_for_answers(layer)}
        self._progress = Progress("rounding", len(self._slow), "layer")

    def write(self, graph: GraphBuilder, name: str, dense: Matrix, x: Tensor) -> Tensor:
        """A layer whose products are float32.

        Args:
            graph: to write into.
            name: of the layer, below the present scope.
            dense: its weights.
            x: float32 [*, in].

        Returns:
            float32 [*, out].
        """
        stored = self.mode.weights if dense.kernel.size >= FEWEST_QUANTIZED else "float32"
        with graph.scope(name):
            if stored in INTEGER_BITS and self.mode.scales_behind:
                return self._scaled_behind(graph, dense, x)
            if stored in INTEGER_BITS:
                weights = self._constant(graph, *self._integers(graph.path, dense))
            elif stored == "float16":
                weights = graph.dequantize(graph.constant(dense.kernel.T.astype(np.float16)))
            else:
                weights = graph.constant(dense.kernel.T)
            return graph.fully_connected(x, weights, None if dense.bias is None else graph.constant(dense.bias))

    def write_int8(self, graph: GraphBuilder, name: str, dense: Matrix, x: Tensor, output: Range) -> Tensor:
        """As `write`, from int8 [*, in] to int8 [*, out], whose values lie in the range `output`."""
        with graph.scope(name):
            weights = self._constant(graph, *self._integers(graph.path, dense))
            return graph.fully_connected_int8(x, weights, dense.bias, *output.even_step())

    def close(self) -> None:
        """Ends the progress line."""
        self._progress.close()

    def _scaled_behind(self, graph: GraphBuilder, dense: Matrix, x: Tensor) -> Tensor:
        """x W + b = (x I + b / s) s with integers I and scales s, W = I s."""
        integers, scales = self._integers(graph.path, dense)
        scales = scales.ravel()
        weights = self._constant(graph, integers, ONE)
        bias = None if dense.bias is None else graph.constant(dense.bias / scales)
        return graph.mul(graph.fully_connected(x, weights, bias), graph.constant(scales))

    def _constant(self, graph: GraphBuilder, integers: np.ndarray, scales: np.ndarray) -> Tensor:
        return graph.constant(integers, scale=scales, type=INT4 if self.mode.weights == "int4" else None)

    def _integers(self, path: str, dense: Matrix) -> tuple[np.ndarray, np.ndarray]:
        """Integers [out, in] and scales [out, 1] of the layer of this name."""
        if path not in self._quantized:
            seen, bits = self.seen.get(path), INTEGER_BITS[self.mode.weights]
            moments, sensitivity = (seen.moments, seen.sensitivity) if seen else (None, None)
            self._quantized[path] = quantized(dense.kernel.T, bits, 0, moments, sensitivity=sensitivity)
            if path in self._slow:
                self._progress.show(len(self._slow & self._quantized.keys()))
        return self._quantized[path]


def _is_rounded_for_answers(seen: SeenInput) -> bool:
    return seen.sensitivity is not None and len(seen.moments) * len(seen.sensitivity) >= FEWEST_QUANTIZED
