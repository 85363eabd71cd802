"""Runs a network on example texts and records what its word table, dense layers and attentions read."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.bert import INPUT_NAMES, BertConfig
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.builder import ModelBuilder
from tinybert_tf.export.writer.flatbuffer import schema
from tinybert_tf.export.writer.graph import NetworkWriter
from tinybert_tf.export.writer.quantization import (
    PROBABILITY_STEP,
    Calibration,
    QuantizationMode,
    Range,
    SeenAttention,
    SeenInput,
)
from tinybert_tf.export.writer.weights import FoldedBert
from tinybert_tf.progress import Progress

# An attention whose noise in eight bits is above a limit stays float32. Noise is the mean square of rounding errors, for the
# input and the context divided by the mean square of the values; for logits it is not, since a softmax reads their differences.
# - Input: outliers of a hundred standard deviations, as a few columns of a pre-trained BERT have, would leave nothing else.
#   TinyBERT4's smoothed inputs have 1e-4.
# - Logits: TinyBERT4's have 1e-3 to 5e-3, MiniLM's 1e-3 to 9e-3. A query whose columns differ a hundredfold from the key's
#   had 2 and gave wrong answers.
# - Context: TinyBERT4 has 1e-4 to 6e-4 at 128 tokens; at 384, 2e-3 to 7e-3 cost SQuAD 0.04 points.
MOST_INPUT_NOISE = 3e-4
MOST_LOGIT_NOISE = 1e-2
MOST_CONTEXT_NOISE = 1e-2

# Rows of a layer's input that are multiplied with each other at a time.
_ROWS = 1024

# The values of a tensor, by its name, in the last run.
TensorOf = Callable[[str], np.ndarray]


def calibrate(
    config: BertConfig,
    network: FoldedBert,
    head: str,
    features: dict[str, np.ndarray],
    static: bool = False,
) -> Calibration:
    """Runs the network in float32 on example texts and records what its dense layers and attentions read.

    Args:
        config, network, head: as for `NetworkWriter`.
        features: int32 `[texts, seq]` by `INPUT_NAMES`, padding behind the texts.
        static: record attentions, too.

    Returns:
        inputs of all dense layers, and how often each word occurs; with `static` the ranges of those attentions that eight
        bits serve.

    Raises:
        InputError: no text.
    """
    lengths = text_lengths(features["input_mask"])
    if not len(lengths):
        raise InputError("no text to calibrate with; give at least one, better some hundreds")
    seq_len = max(int(lengths.max()), 2)
    features = {name: values[:, :seq_len] for name, values in features.items()}
    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        NetworkWriter(config, network, head, QuantizationMode("for calibration"), seq_len).write(graph, seq_len)
    model = builder.finish()
    inputs = _dense_inputs(model)
    columns = {name: _Columns() for name in inputs.values()}
    first = f"layer_{network.first_token_layer}/attention"
    # The inputs of these two have a row for each head; all others have a row for each token, or one row.
    by_head = {inputs[name] for name in (f"{first}/key", f"{first}/value") if name in inputs}
    paths = [f"layer_{number}/attention" for number in range(len(network.layers))] if static else []
    attentions = {path: _Attention(path, inputs[f"{path}/query"]) for path in paths if path != first}
    progress = Progress("example texts", len(lengths), "text")
    for row, tensor in enumerate(_runs(model, features)):
        # Values at padding are never used.
        length = int(lengths[row])
        for name, seen in columns.items():
            seen.add(tensor(name) if name in by_head else tensor(name)[:length])
        for attention in attentions.values():
            attention.add(tensor, length)
        progress.show(row + 1)
    progress.close()
    return Calibration(
        {layer: SeenInput(columns[name].largest, columns[name].moments()) for layer, name in inputs.items()},
        {path: attention.seen() for path, attention in attentions.items() if attention.fits()},
        np.bincount(features["input_word_ids"][features["input_mask"] == 1], minlength=len(network.word)),
    )


def text_lengths(mask: np.ndarray) -> np.ndarray:
    """The position of the last 1 of each row [B, S], counted from 1; 0 of a row without any."""
    return np.max((mask != 0) * np.arange(1, mask.shape[1] + 1), axis=1, initial=0)


def spread(values: Sequence, most: int) -> Sequence:
    """All values, or `most` of them at even distances."""
    return values if len(values) <= most else [values[number * len(values) // most] for number in range(most)]


def spread_rows(features: Mapping[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """As `spread`, for rows of features."""
    rows = spread(range(len(features["input_mask"])), most)
    return {name: values[rows] for name, values in features.items()}


def _runs(model: schema.ModelT, features: dict[str, np.ndarray]) -> Iterator[TensorOf]:
    """Runs a model on one row after another."""
    (graph,) = model.subgraphs
    numbers = {tensor.name.decode(): number for number, tensor in enumerate(graph.tensors)}
    with warnings.catch_warnings():
        # The warning says that all tensors take memory, which is intended here.
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
    """Statistics of a tensor's rows so far: the largest absolute value of each column, [in], and the mean product of each
    pair of columns, [in, in].
    """

    def __init__(self):
        self.largest, self._products, self._rows = 0.0, 0.0, 0
        # Rows that are not in the products yet: one large product is much faster than a small one for each text.
        self._waiting: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        self.largest = np.maximum(self.largest, np.abs(values).max(axis=0))
        self._waiting.append(values.copy())  # not a view of the padded tensor
        if sum(map(len, self._waiting)) >= _ROWS:
            self._multiply()

    def moments(self) -> np.ndarray:
        self._multiply()
        return self._products / self._rows

    def _multiply(self) -> None:
        if self._waiting:
            values = np.concatenate(self._waiting)
            self._products, self._rows = self._products + values.T @ values, self._rows + len(values)
            self._waiting = []


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
        return self._squares / self._count

    def noise(self) -> float:
        """Mean square of rounding to steps of this range: a twelfth of a step's square."""
        return self.range().step()[0] ** 2 / 12

    def even_noise(self) -> float:
        return self.range().even_step()[0] ** 2 / 12


class _Attention:
    """What the attention of one layer computed so far, without padding."""

    def __init__(self, path: str, input_name: str):
        self._path, self._input_name = path, input_name
        self._values = {name: _Values() for name in ("input", "query", "key", "value", "logits", "context")}
        self._context_error = _Values()
        self._head_size = 0

    def add(self, tensor: TensorOf, length: int) -> None:
        rows = {name: tensor(f"{self._path}/{name}/fully_connected")[:length] for name in ("query", "key", "value")}
        rows["input"] = tensor(self._input_name)[:length]
        rows["logits"] = tensor(f"{self._path}/logits/batch_matmul")[:, :length, :length]
        rows["context"] = tensor(f"{self._path}/context/batch_matmul")[:, :length]
        for name, values in rows.items():
            self._values[name].add(values)
        probabilities = tensor(f"{self._path}/softmax")[:, :length, :length]
        heads, _, self._head_size = rows["context"].shape
        value = rows["value"].reshape(length, heads, self._head_size).swapaxes(0, 1)
        rounded = np.round(probabilities / PROBABILITY_STEP) * PROBABILITY_STEP
        self._context_error.add((rounded - probabilities) @ value)

    def input_noise(self) -> float:
        return _ratio(self._values["input"].noise(), self._values["input"].mean_square())

    def logit_noise(self) -> float:
        """Noise of the logits: rounded query times key, query times rounded key, and the rounding of their product."""
        query, key = self._values["query"], self._values["key"]
        products = query.even_noise() * key.mean_square() + key.even_noise() * query.mean_square()
        return self._head_size * products + self._values["logits"].noise()

    def context_noise(self) -> float:
        """Noise of the context that rounded probabilities cause."""
        return _ratio(self._context_error.mean_square(), self._values["context"].mean_square())

    def fits(self) -> bool:
        return self.input_noise() <= MOST_INPUT_NOISE and self.logit_noise() <= MOST_LOGIT_NOISE

    def seen(self) -> SeenAttention:
        ranges = {name: values.range() for name, values in self._values.items()}
        if self.context_noise() > MOST_CONTEXT_NOISE:
            ranges["context"] = None
        return SeenAttention(**ranges)


def _ratio(noise: float, mean_square: float) -> float:
    return noise / mean_square if mean_square else 0.0
