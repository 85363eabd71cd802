"""What do a network's dense layers and attentions see on real texts?"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.bert import INPUT_NAMES, BertConfig
from tinybert_tf.errors import InputError
from tinybert_tf.export import flatbuffer
from tinybert_tf.export.builder import ModelBuilder
from tinybert_tf.export.flatbuffer import schema
from tinybert_tf.export.graph import NetworkWriter
from tinybert_tf.export.quantization import (
    PROBABILITY_STEP,
    Calibration,
    Precision,
    Range,
    SeenAttention,
    SeenInput,
)
from tinybert_tf.export.weights import Network

# Mean square of the rounding error over that of the values.
MOST_INPUT_NOISE = 3e-4
MOST_CONTEXT_NOISE = 1e-2

# The value of a tensor after the last run, by its name.
Tensors = Callable[[str], np.ndarray]


def calibrate(
    config: BertConfig,
    network: Network,
    head: str,
    features: dict[str, np.ndarray],
    most_input_noise: float = MOST_INPUT_NOISE,
    most_context_noise: float = MOST_CONTEXT_NOISE,
) -> Calibration:
    """Runs the network in float32 on example texts and looks at what its dense layers and attentions see.

    Args:
        config, network, head: as for `NetworkWriter`.
        features: int32 `[texts, seq]` by `INPUT_NAMES`. 200 texts do.
        most_input_noise, most_context_noise: what eight bits may do to an attention's input, and its probabilities' to its
            output: mean square of the error over that of the values. Beyond, it is left in float32.
    """
    texts, seq_len = features[INPUT_NAMES[0]].shape
    if not texts:
        raise InputError("no text to calibrate with; give at least one, better 200")
    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        NetworkWriter(config, network, head, Precision("for calibration"), seq_len).write(graph, seq_len)
    model = builder.finish("2.9.0")
    inputs = _dense_inputs(model)
    columns = {name: _Columns() for name in inputs.values()}
    attentions = {}
    # The last layer of a head that reads the first token alone has an attention of its own kind.
    for number in range(len(network.layers) - (network.pooler is not None)):
        path = f"layer_{number}/attention"
        attentions[path] = _Attention(path, inputs[f"{path}/query"])
    for row, tensor in enumerate(_runs(model, features)):
        # What the network computes for padding is never used.
        length = int(features["input_mask"][row].sum())
        for name, seen in columns.items():
            values = tensor(name)
            seen.add(values[:length] if len(values) == seq_len else values)
        for attention in attentions.values():
            attention.add(tensor, length)
    return Calibration(
        {layer: SeenInput(columns[name].largest, columns[name].moments()) for layer, name in inputs.items()},
        {
            path: attention.seen(most_context_noise)
            for path, attention in attentions.items()
            if attention.input_noise() <= most_input_noise
        },
    )


def _runs(model: schema.ModelT, features: dict[str, np.ndarray]) -> Iterator[Tensors]:
    """Runs a model on one row after another."""
    (graph,) = model.subgraphs
    numbers = {tensor.name.decode(): number for number, tensor in enumerate(graph.tensors)}
    with warnings.catch_warnings():
        # It says that all tensors take memory: that is what is wanted.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(model_content=flatbuffer.pack(model), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    for row in range(len(features[INPUT_NAMES[0]])):
        for number, name in zip(graph.inputs, INPUT_NAMES, strict=True):
            interpreter.set_tensor(number, features[name][row : row + 1])
        interpreter.invoke()
        yield lambda name: interpreter.get_tensor(numbers[name])


def _dense_inputs(model: schema.ModelT) -> dict[str, str]:
    """Name of each dense layer -> name of its input tensor."""
    (graph,) = model.subgraphs
    inputs = {}
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            x, y = (graph.tensors[index].name.decode() for index in (operator.inputs[0], operator.outputs[0]))
            inputs[y.rpartition("/")[0]] = x
    return inputs


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
    """The range and the mean square of the values that a tensor held so far."""

    def __init__(self):
        self._low = self._high = self._squares = 0.0
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        self._squares += float(np.square(values, dtype=np.float64).sum())
        self._count += values.size

    def range(self) -> Range:
        return Range(self._low, self._high)

    def mean_square(self) -> float:
        return max(self._squares / self._count, np.finfo(np.float64).tiny)

    def noise(self) -> float:
        """Mean square of rounding to steps of this range (a twelfth of a step's square) over that of the values."""
        scale, _ = self.range().step()
        return scale**2 / 12 / self.mean_square()


class _Attention:
    """What the attention of one layer computed so far; padding is left out."""

    def __init__(self, path: str, input_name: str):
        self._path, self._input_name = path, input_name
        self._values = {name: _Values() for name in ("input", "query", "key", "value", "logits", "context")}
        self._context_error = _Values()

    def add(self, tensor: Tensors, length: int) -> None:
        query, key, value = (tensor(f"{self._path}/{name}/fully_connected") for name in ("query", "key", "value"))
        logits = tensor(f"{self._path}/logits/batch_matmul")[:, :length, :length]
        probabilities = tensor(f"{self._path}/softmax")[:, :length, :length]
        context = tensor(f"{self._path}/context/batch_matmul")[:, :length]
        rows = {"input": tensor(self._input_name), "query": query, "key": key, "value": value}
        seen = {name: values[:length] for name, values in rows.items()} | {"logits": logits, "context": context}
        for name, values in seen.items():
            self._values[name].add(values)
        heads = value[:length].reshape(length, len(context), -1).swapaxes(0, 1)  # [H, length, d]
        rounded = np.round(probabilities / PROBABILITY_STEP) * PROBABILITY_STEP
        self._context_error.add((rounded - probabilities) @ heads)

    def input_noise(self) -> float:
        return self._values["input"].noise()

    def context_noise(self) -> float:
        """Mean square of what rounded probabilities do to the context over that of the context."""
        return self._context_error.mean_square() / self._values["context"].mean_square()

    def seen(self, most_context_noise: float) -> SeenAttention:
        ranges = {name: values.range() for name, values in self._values.items()}
        if self.context_noise() > most_context_noise:
            ranges["context"] = None
        return SeenAttention(**ranges)
