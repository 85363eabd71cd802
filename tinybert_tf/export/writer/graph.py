"""The network as a list of operators: one sentence, a fixed length, and only what the answer needs.

- Activations are `[seq, hidden]`, so that every dense layer is one FULLY_CONNECTED, which has int8 kernels.
- If the head reads the first token alone, the last layer is computed for one row instead of `seq`, and its keys and values
  for one row a head (this saves a quarter of TinyBERT4's time at 128 tokens).
- Embedding rows are looked up in the type in which they are stored; only the rows that were looked up become float32.

Shapes: S sequence, D hidden size, H heads, d = D / H.
"""

import numpy as np

from tinybert_tf.bert import INPUT_NAMES, MASK_VALUE, BertConfig
from tinybert_tf.export.writer.builder import INT4, INT8, INT32, GraphBuilder, Tensor
from tinybert_tf.export.writer.dense import DenseWriter
from tinybert_tf.export.writer.quantization import PROBABILITY_STEP, Calibration, QuantizationMode, SeenAttention
from tinybert_tf.export.writer.tables import CODED, CodedTable, Table
from tinybert_tf.export.writer.weights import VECTORS, FoldedBert, FoldedLayer, Matrix

# Outputs in the signature, by head. Order and names of the span's are those of the Task Library's BertQuestionAnswerer.
OUTPUT_NAMES = {
    "classification": ("probability",),
    "token_classification": ("probability",),
    "regression": ("score",),
    "span": ("end_logits", "start_logits"),
    **dict.fromkeys(VECTORS, ("embedding",)),
}


class NetworkWriter:
    """Writes a network into a graph, at any length.

    Args:
        config, network: the model's configuration and its folded weights.
        head: one of `OUTPUT_NAMES`.
        mode: how numbers are stored and computed.
        positions: the longest length that will be written.
        calibration: what dense layers and attentions read on example texts. Weights of dense layers are rounded for it; in
            a static mode an attention that has ranges computes in integers. The scales of the word table suit the words that
            occur, its integers the answers.
    """

    def __init__(
        self,
        config: BertConfig,
        network: FoldedBert,
        head: str,
        mode: QuantizationMode,
        positions: int,
        calibration: Calibration | None = None,
    ):
        self.config, self.network, self.head, self.mode = config, network, head, mode
        self.calibration = calibration or Calibration()
        self.dense = DenseWriter(mode, self.calibration.dense)
        if network.word_codes is not None and mode.embeddings in CODED:
            self.word = CodedTable(network.word_codes, INT8 if mode.scales_behind else INT4)
        else:
            seen = self.calibration
            self.word = Table(network.word, mode.embeddings, seen.word_counts, seen.word_sensitivity)
        # Position and type rows are few: they do not go below int8. They share their scales, because they are added first.
        tables = (network.position[:positions], network.token_type)
        others = np.concatenate([table for table in tables if table is not None])
        self.others = Table(others, "int8" if mode.embeddings == "int4" else mode.embeddings)
        self.positions = positions

    def write(self, graph: GraphBuilder, seq_len: int) -> None:
        """Adds inputs, int32 `[1, seq_len]` by `INPUT_NAMES`, the network and its outputs by `OUTPUT_NAMES`."""
        ids, mask, types = (graph.input(name, (1, seq_len), INT32) for name in INPUT_NAMES)
        if self.network.token_type is not None:  # else the input is there, as clients expect, and not read
            types = graph.reshape(types, (seq_len,))
        self.write_behind(graph, graph.reshape(ids, (seq_len,)), mask, types)

    def write_behind(self, graph: GraphBuilder, ids: Tensor, mask: Tensor, types: Tensor) -> None:
        """Adds the network behind int32 [S] ids and types and an [S] or [1, S] mask, and its outputs by `OUTPUT_NAMES`."""
        with graph.scope("embeddings"):
            normal = self._norm(graph, self._embed(graph, ids, types))
            if self.network.projection is not None:
                normal = self.dense.write(graph, "project", self.network.projection, normal)
        with graph.scope("mask"):
            masked = graph.sub(graph.constant(np.float32(1)), graph.cast(mask))
            added = graph.mul(masked, graph.constant(np.float32(MASK_VALUE)))
            # Of all queries, and of the first one, whose layer is the last.
            last = self.network.first_token_layer
            of_all = self._biased(graph, added, None) if last != 0 else None
            of_first = self._biased(graph, added, 0) if last is not None else None
        for number, layer in enumerate(self.network.layers):
            with graph.scope(f"layer_{number}"):
                reads_first_token = number == last
                normal = self._layer(graph, layer, normal, of_first if reads_first_token else of_all, reads_first_token)
        outputs = self._head(graph, normal, mask)
        for name in OUTPUT_NAMES[self.head]:
            graph.output(name, outputs[name])
        self.dense.close()

    def _biased(self, graph: GraphBuilder, mask: Tensor, query: int | None) -> Tensor:
        """The mask with the bias by relative position, [H, S, S] or for one query [H, S]; without a bias as it is."""
        if self.network.bias is None:
            return mask
        bias = self.network.bias if query is None else self.network.bias[:, query]
        stored = graph.constant(bias if self.mode.weights == "float32" else bias.astype(np.float16))
        bias = stored if self.mode.weights == "float32" else graph.dequantize(stored)
        seq_len = mask.shape[-1]
        if seq_len < bias.shape[-1]:  # graphs of all lengths share the constant
            shape = (bias.shape[0], *(seq_len for _ in bias.shape[1:]))
            bias = graph.slice(bias, (0,) * len(shape), shape)
        return graph.add(bias, mask)

    def _embed(self, graph: GraphBuilder, ids: Tensor, types: Tensor) -> Tensor:
        """[S] ids -> [S, E]: the sum of a word's, a position's and, where there are types, a type's row."""
        (seq_len,) = ids.shape
        word = self.word.gathered(graph, ids)
        position = self.others.rows(graph, 0, self.positions)
        if seq_len < self.positions:
            position = graph.slice(position, (0, 0), (seq_len, position.shape[1]))
        if self.network.token_type is not None:
            position = graph.add(position, self.others.gathered(graph, types, start=self.positions))
        return graph.add(self.word.scaled(graph, word), self.others.scaled(graph, position))

    def _layer(
        self, graph: GraphBuilder, layer: FoldedLayer, normal: Tensor, mask: Tensor, reads_first_token: bool
    ) -> Tensor:
        """One layer from normalized input to normalized output: [S, D] -> [S, D], or [1, D] if only the first token is read."""
        read = self._scaled(graph, normal, layer.scale)
        queried = self._first_token(graph, normal) if reads_first_token else normal
        with graph.scope("attention"):
            attention = self._first_token_attention if reads_first_token else self._attention
            attended = self.dense.write(graph, "output", layer.attention_output, attention(graph, layer, read, mask))
            residual = graph.mul(queried, graph.constant(layer.gamma))
            normal = self._norm(graph, graph.add(residual, attended))
        read = self._scaled(graph, normal, layer.attention_scale)
        expanded = self._activation(
            graph, self.dense.write(graph, "intermediate", layer.intermediate, read), self.config.hidden_act
        )
        contracted = self.dense.write(graph, "output", layer.output, expanded)
        residual = graph.mul(normal, graph.constant(layer.attention_gamma))
        return self._norm(graph, graph.add(residual, contracted))

    def _attention(self, graph: GraphBuilder, layer: FoldedLayer, read: Tensor, mask: Tensor) -> Tensor:
        """[S, D] -> the heads' contexts side by side, [S, D].

        With ranges the projections and both products are in integers, and the softmax between them in float32. The
        calibration finds their tensors by name.
        """
        heads, size = self.config.num_attention_heads, self.config.attention_head_size
        seen = self.calibration.attention.get(graph.path) if self.mode.static else None

        def split(projected: Tensor) -> Tensor:  # [S, D] -> [H, S, d]
            return graph.transpose(graph.reshape(projected, (read.shape[0], heads, size)), (1, 0, 2))

        query, key, value = map(split, self._projections(graph, layer, read, seen))
        with graph.scope("logits"):  # [H, S, S]
            if seen:
                logits = graph.dequantize(graph.batch_matmul_int8(query, key, *seen.logits.step(), transpose_y=True))
            else:
                logits = graph.batch_matmul(query, key, transpose_y=True)
        probabilities = graph.softmax(graph.add(logits, mask))
        with graph.scope("context"):  # [H, S, d]
            if seen and seen.context:
                steps = graph.quantize(probabilities, PROBABILITY_STEP, -128)
                context = graph.batch_matmul_int8(steps, value, *seen.context.step())
            else:
                context = graph.batch_matmul(probabilities, graph.dequantize(value) if seen else value)
        context = graph.reshape(graph.transpose(context, (1, 0, 2)), read.shape)
        return graph.dequantize(context) if context.type == INT8 else context

    def _projections(
        self, graph: GraphBuilder, layer: FoldedLayer, read: Tensor, seen: SeenAttention | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of all tokens, [S, D] each; int8 if there are ranges."""
        if not seen:
            return tuple(
                self.dense.write(graph, name, getattr(layer, name), read) for name in ("query", "key", "value")
            )
        steps = graph.quantize(read, *seen.input.step())
        return tuple(
            self.dense.write_int8(graph, name, getattr(layer, name), steps, getattr(seen, name))
            for name in ("query", "key", "value")
        )

    def _first_token_attention(self, graph: GraphBuilder, layer: FoldedLayer, read: Tensor, mask: Tensor) -> Tensor:
        """[S, D] -> the heads' contexts of the first token side by side, [1, D].

        A head's logits q (n W)' equal (q W') n', and its context p (n W) equals (p n) W: so the weights of keys and values
        are multiplied with one row for each head instead of one for each token. Each row's columns of other heads are
        multiplied by zero.
        """
        heads, size = self.config.num_attention_heads, self.config.attention_head_size
        own = graph.constant(np.eye(heads, dtype=np.float32)[:, :, None])
        query = self.dense.write(graph, "query", layer.query, self._first_token(graph, read))
        queries = graph.mul(graph.reshape(query, (1, heads, size)), own)
        queries = graph.reshape(queries, (heads, read.shape[1]))  # [H, D]
        # A key has no bias: the softmax would not see it.
        asked = self.dense.write(graph, "key", Matrix(layer.key.kernel.T), queries)
        logits = graph.add(graph.batch_matmul(asked, read, transpose_y=True), mask)  # [H, S]
        answered = graph.batch_matmul(graph.softmax(logits), read)  # [H, D]
        contexts = graph.reshape(self.dense.write(graph, "value", layer.value, answered), (heads, heads, size))
        return graph.reshape(graph.sum(graph.mul(contexts, own), axis=0), (1, read.shape[1]))

    def _head(self, graph: GraphBuilder, normal: Tensor, mask: Tensor) -> dict[str, Tensor]:
        if self.network.pooler is not None:
            pooled = self.dense.write(graph, "pooler", self.network.pooler, normal)
            normal = self._activation(graph, pooled, self.config.pooler_activation)
            if self.config.classifier_activation and self.head not in VECTORS:
                normal = self._activation(graph, normal, self.config.classifier_activation)
        elif self.head in VECTORS:
            gamma, beta = map(graph.constant, self.network.output_norm)
            mean = self._mean(graph, normal, mask) if self.head == "mean" else normal
            normal = graph.add(graph.mul(mean, gamma), beta)
        if self.head in VECTORS:
            return {"embedding": normal}
        logits = self.dense.write(graph, "classifier", self.network.classifier, normal)
        if self.head == "span":
            start, end = graph.split(graph.transpose(logits, (1, 0)), 2, axis=0)  # [1, S] each
            return {"start_logits": start, "end_logits": end}
        if self.head == "token_classification":
            return {"probability": graph.softmax(graph.reshape(logits, (1, *logits.shape)))}
        return {"score": logits} if self.head == "regression" else {"probability": graph.softmax(logits)}

    def _mean(self, graph: GraphBuilder, x: Tensor, mask: Tensor) -> Tensor:
        """The mean of the rows [S, D] whose mask is 1, [1, D]."""
        weights = graph.cast(graph.reshape(mask, (1, x.shape[0])))
        root = graph.rsqrt(graph.mul(graph.mean(weights), graph.constant(np.float32(x.shape[0]))))
        # As a product with x transposed, which the kernels of all modes have.
        total = graph.batch_matmul(weights, graph.transpose(x, (1, 0)), transpose_y=True)
        return graph.mul(total, graph.mul(root, root))

    def _first_token(self, graph: GraphBuilder, x: Tensor) -> Tensor:
        return graph.slice(x, (0, 0), (1, x.shape[1]))

    def _scaled(self, graph: GraphBuilder, x: Tensor, scale: np.ndarray | None) -> Tensor:
        return x if scale is None else graph.mul(x, graph.constant(scale))

    def _norm(self, graph: GraphBuilder, x: Tensor) -> Tensor:
        """Layer normalization without gamma and beta, which are folded into the layers that read it."""
        with graph.scope("norm"):
            centered = graph.sub(x, graph.mean(x))
            variance = graph.mean(graph.mul(centered, centered))
            epsilon = graph.constant(np.float32(self.config.layer_norm_eps))
            return graph.mul(centered, graph.rsqrt(graph.add(variance, epsilon)))

    def _activation(self, graph: GraphBuilder, x: Tensor, name: str) -> Tensor:
        if name in ("relu", "tanh"):
            return getattr(graph, name)(x)
        return graph.gelu(x, approximate=name != "gelu")
