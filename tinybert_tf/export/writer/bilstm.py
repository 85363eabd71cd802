"""A BiLSTM as a list of operators, unrolled over a fixed length.

TFLite's own LSTM operator keeps its state from one call to the next, which the stock runtimes do not reset; a WHILE is slow. So
every step is written out, and its weights, constants of equal content, are stored once.

- The products with the inputs are made for all positions at once: FULLY_CONNECTED [S, E] -> [S, 4U].
- Padding stands at the end. The backward LSTM begins with it: a closed input gate keeps its state 0. The forward LSTM ends with
  it: its state at the last token is picked out.

Shapes: S sequence, E embedding size, U units of a direction.
"""

import numpy as np

from tinybert_tf.bert import INPUT_NAMES
from tinybert_tf.bert.bilstm import BiLstmModel
from tinybert_tf.checkpoints.bilstm import tensors
from tinybert_tf.export.writer.builder import INT32, GraphBuilder, Tensor
from tinybert_tf.export.writer.dense import DenseWriter
from tinybert_tf.export.writer.quantization import QuantizationMode
from tinybert_tf.export.writer.tables import Table
from tinybert_tf.export.writer.weights import Matrix

# Added to what an input gate reads at padding: its sigmoid is 0.
_CLOSED = -1e4


class BiLstmWriter:
    """Writes a BiLSTM into a graph, at any length.

    Args:
        model: the network.
        mode: how numbers are stored and computed; nothing is static.

    Raises:
        InputError: a weight is NaN, infinity or an integer.
    """

    def __init__(self, model: BiLstmModel, mode: QuantizationMode):
        self.config, self.head, self.weights = model.config, model.head, tensors(model)
        self.table = Table(self.weights["word_embeddings.weight"], mode.embeddings)
        self.dense = DenseWriter(mode)

    def write(self, graph: GraphBuilder, seq_len: int) -> None:
        """Adds inputs, int32 `[1, seq_len]` by `INPUT_NAMES`, the network and its output."""
        ids, mask, _ = (graph.input(name, (1, seq_len), INT32) for name in INPUT_NAMES)
        with graph.scope("embeddings"):
            rows = self.table.gathered(graph, graph.reshape(ids, (seq_len,)))
            embedded = self.table.scaled(graph, rows)  # [S, E]
        tokens = graph.reshape(graph.cast(mask), (seq_len, 1))
        with graph.scope("forward"):
            states = self._states(graph, "forward", embedded, tokens, range(seq_len))
            forward = graph.batch_matmul(self._last(graph, tokens), graph.concatenation(states, axis=0))
        with graph.scope("backward"):
            backward = self._states(graph, "backward", embedded, tokens, reversed(range(seq_len)))[-1]
        both = graph.concatenation([forward, backward], axis=1)
        hidden = graph.relu(self.dense.write(graph, "hidden", self._matrix("hidden"), both))
        logits = self.dense.write(graph, "classifier", self._matrix("classifier"), hidden)
        if self.head == "regression":
            graph.output("score", logits)
        else:
            graph.output("probability", graph.softmax(logits))

    def _matrix(self, name: str) -> Matrix:
        return Matrix(self.weights[f"{name}.kernel"], self.weights[f"{name}.bias"])

    def _states(self, graph: GraphBuilder, direction: str, embedded: Tensor, tokens: Tensor, order) -> list[Tensor]:
        """The hidden states [1, U] in the order of the steps."""
        units = self.config.units
        # Keras' gates are input, forget, cell, output; here the three sigmoids stand together.
        gates = np.r_[0 : 2 * units, 3 * units : 4 * units, 2 * units : 3 * units]
        kernel, recurrent, bias = (
            self.weights[f"lstm.{direction}.{part}"][..., gates] for part in ("kernel", "recurrent_kernel", "bias")
        )
        of_inputs = self.dense.write(graph, "inputs", Matrix(kernel, bias), embedded)  # [S, 4U]
        padding = graph.sub(graph.constant(np.float32(1)), tokens)
        closed = np.zeros((1, 4 * units), np.float32)
        closed[:, :units] = _CLOSED
        of_inputs = graph.add(of_inputs, graph.mul(padding, graph.constant(closed)))
        hidden = state = None
        states = []
        for step in order:
            read = graph.slice(of_inputs, (step, 0), (1, 4 * units))
            if hidden is not None:
                read = graph.add(read, self.dense.write(graph, "recurrent", Matrix(recurrent), hidden))
            opened = graph.logistic(graph.slice(read, (0, 0), (1, 3 * units)))
            let_in, kept, shown = graph.split(opened, 3, axis=1)
            new = graph.mul(let_in, graph.tanh(graph.slice(read, (0, 3 * units), (1, units))))
            state = new if state is None else graph.add(graph.mul(kept, state), new)
            hidden = graph.mul(shown, graph.tanh(state))
            states.append(hidden)
        return states

    def _last(self, graph: GraphBuilder, tokens: Tensor) -> Tensor:
        """[S, 1] 1 for tokens, which stand first -> [1, S] 1 for the last of them."""
        seq_len = tokens.shape[0]
        following = graph.slice(tokens, (1, 0), (seq_len - 1, 1))
        following = graph.concatenation([following, graph.constant(np.zeros((1, 1), np.float32))], axis=0)
        return graph.reshape(graph.sub(tokens, following), (1, seq_len))
