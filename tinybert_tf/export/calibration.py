"""What do a network's dense layers see on real texts?"""

import warnings
from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.bert import INPUT_NAMES, BertConfig
from tinybert_tf.errors import InputError
from tinybert_tf.export import flatbuffer
from tinybert_tf.export.builder import ModelBuilder
from tinybert_tf.export.flatbuffer import schema
from tinybert_tf.export.graph import NetworkWriter
from tinybert_tf.export.quantization import Calibration, Precision, Range, Seen
from tinybert_tf.export.weights import Network

# Mean square of the rounding error over that of the values, above which a layer finds its ranges as it runs. A few feed-forward
# outputs of a pre-trained BERT have outliers of a hundred standard deviations: with steps that span them nothing else is left,
# and cutting them off costs more (TinyBERT4 on STS-B: 1.3 points for a share of 1e-4 of the values). Time is the same either way.
MOST_NOISE = 3e-4


def calibrate(
    config: BertConfig, network: Network, head: str, features: dict[str, np.ndarray], most_noise: float = MOST_NOISE
) -> Calibration:
    """Runs the network in float32 on example texts and looks at what goes into and comes out of its dense layers.

    Args:
        config, network, head: as for `NetworkWriter`.
        features: int32 `[texts, seq]` by `INPUT_NAMES`. 200 texts do.
        most_noise: see `MOST_NOISE`.

    Returns:
        by layer; with ranges for those that whole steps of int8 serve well.
    """
    texts, seq_len = features[INPUT_NAMES[0]].shape
    if not texts:
        raise InputError("no text to calibrate with; give at least one, better 200")
    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        NetworkWriter(config, network, head, Precision("for calibration"), seq_len).write(graph, seq_len)
    model = builder.finish("2.9.0")
    layers = _dense_layers(model)
    with warnings.catch_warnings():
        # It says that all tensors take memory: that is what is wanted.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(model_content=flatbuffer.pack(model), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    inputs = {x: _Columns() for x, _ in layers.values()}
    tensors = {index: _Values() for pair in layers.values() for index in pair}
    for row in range(texts):
        for index, name in zip(model.subgraphs[0].inputs, INPUT_NAMES, strict=True):
            interpreter.set_tensor(index, features[name][row : row + 1])
        interpreter.invoke()
        length = int(features["input_mask"][row].sum())
        for index, tensor in tensors.items():
            # What the network computes for padding is never used.
            values = interpreter.get_tensor(index)[:length]
            tensor.add(values)
            if index in inputs:
                inputs[index].add(values)
    return {
        name: Seen(inputs[x].largest, inputs[x].moments(), _ranges((tensors[x], tensors[y]), most_noise))
        for name, (x, y) in layers.items()
    }


def _dense_layers(model: schema.ModelT) -> dict[str, tuple[int, int]]:
    """Name of each layer -> numbers of its input and output tensors."""
    (graph,) = model.subgraphs
    layers = {}
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            x, y = operator.inputs[0], operator.outputs[0]
            layers[graph.tensors[y].name.decode().rpartition("/")[0]] = (x, y)
    return layers


def _ranges(pair: Sequence["_Values"], most_noise: float) -> tuple[Range, Range] | None:
    """Of a layer's input and output; what sees a single row of each text gains nothing by knowing its range beforehand."""
    if any(values.single_row or values.noise() > most_noise for values in pair):
        return None
    return tuple(values.range() for values in pair)


class _Columns:
    """What the rows that a tensor held so far have in each column: the largest absolute values, [in], and the mean products
    of each two, [in, in]."""

    def __init__(self):
        self.largest, self._products, self._rows = 0.0, 0.0, 0

    def add(self, values: np.ndarray) -> None:
        self.largest = np.maximum(self.largest, np.abs(values).max(axis=0))
        self._products = self._products + values.T @ values
        self._rows += len(values)

    def moments(self) -> np.ndarray:
        return self._products / self._rows


class _Values:
    """The values that a tensor held so far."""

    def __init__(self):
        self._low = self._high = self._squares = 0.0
        self._count = 0
        self.single_row = True

    def add(self, values: np.ndarray) -> None:
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        self._squares += float(np.square(values, dtype=np.float64).sum())
        self._count += values.size
        self.single_row &= len(values) == 1

    def range(self) -> Range:
        return Range(self._low, self._high)

    def noise(self) -> float:
        """Mean square of rounding to steps of this range (a twelfth of a step's square) over that of the values."""
        scale, _ = self.range().step()
        return scale**2 / 12 / max(self._squares / self._count, np.finfo(np.float64).tiny)
