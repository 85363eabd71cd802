"""Writes a TFLite model operation by operation.

TensorFlow's converter needs ten times a model's size in memory, and what it makes of a graph changes with its version. A
BERT is twenty kinds of operations in a known order: here each is written as the runtime will find it. Constants of equal
content are held once, also between the graphs of a model that has one for each length.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

FLOAT32 = schema.TensorType.FLOAT32
FLOAT16 = schema.TensorType.FLOAT16
INT4 = schema.TensorType.INT4
INT8 = schema.TensorType.INT8
INT32 = schema.TensorType.INT32

_TYPES = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8, "int32": INT32}
_OPERATOR_CODE_IN_ONE_BYTE = 127  # what readers of the first schema versions find in place of a higher code


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of one graph, by its number there. With a scale it stands for (values - zero_point) * scale."""

    index: int
    shape: tuple[int, ...]
    type: int
    scale: np.ndarray | None = None
    zero_point: int = 0


class ModelBuilder:
    """One file: graphs that share their constants."""

    def __init__(self):
        self._model = schema.ModelT(
            version=3,
            description="tinybert_tf",
            operatorCodes=[],
            subgraphs=[],
            buffers=[schema.BufferT()],  # number 0 is the empty one, by the format
            signatureDefs=[],
            metadata=[],
        )
        self._buffers: dict[bytes, int] = {}
        self._codes: dict[tuple[int, int], int] = {}

    @contextlib.contextmanager
    def graph(self, signature: str) -> Iterator["GraphBuilder"]:
        """A further graph, called by the name of its signature."""
        graph = GraphBuilder(self, signature)
        yield graph
        self._model.subgraphs.append(graph.subgraph)
        self._model.signatureDefs.append(graph.signature(len(self._model.subgraphs) - 1))

    @contextlib.contextmanager
    def graph_behind(self, model: schema.ModelT, signature: str) -> Iterator[tuple["GraphBuilder", dict[str, Tensor]]]:
        """Goes on where the only graph of another model ends: that graph, and its outputs by name.

        `model` comes from TensorFlow's converter and is used up: its buffers become this one's.
        """
        (subgraph,), (ends,) = model.subgraphs, model.signatureDefs
        first_code = len(self._model.operatorCodes)
        self._model.operatorCodes += model.operatorCodes
        for operator in subgraph.operators:
            operator.opcodeIndex += first_code
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            tensor.buffer = 0 if data is None or not len(data) else self.buffer(np.asarray(data, np.uint8))
        with self.graph(signature) as graph:
            graph.adopt(subgraph, {entry.name.decode(): entry.tensorIndex for entry in ends.inputs})
            yield graph, {entry.name.decode(): graph.existing(entry.tensorIndex) for entry in ends.outputs}

    def finish(self, min_runtime_version: str) -> schema.ModelT:
        """The model; `min_runtime_version` is the first TensorFlow Lite whose kernels know every operation in it."""
        padded = min_runtime_version.encode().ljust(16, b"\0")
        entry = schema.MetadataT(name=b"min_runtime_version", buffer=self.buffer(np.frombuffer(padded, np.uint8)))
        self._model.metadata.append(entry)
        return self._model

    def buffer(self, data: np.ndarray) -> int:
        """The number of the buffer with these bytes."""
        key = hashlib.sha256(data).digest()
        if key not in self._buffers:
            self._buffers[key] = len(self._model.buffers)
            self._model.buffers.append(schema.BufferT(data=data))
        return self._buffers[key]

    def operator_code(self, name: str, version: int) -> int:
        code = getattr(schema.BuiltinOperator, name)
        if (code, version) not in self._codes:
            self._codes[code, version] = len(self._model.operatorCodes)
            old = min(code, _OPERATOR_CODE_IN_ONE_BYTE)
            self._model.operatorCodes.append(
                schema.OperatorCodeT(deprecatedBuiltinCode=old, builtinCode=code, version=version)
            )
        return self._codes[code, version]


class GraphBuilder:
    """One graph. Each method appends an operation and returns its result; shapes are static."""

    def __init__(self, model: ModelBuilder, signature: str):
        self._model = model
        self._signature = signature
        self._scope: list[str] = []
        self._names: dict[str, int] = {}
        self._constants: dict[tuple, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self.subgraph = schema.SubGraphT(name=signature.encode(), tensors=[], operators=[])

    def signature(self, subgraph_index: int) -> schema.SignatureDefT:
        def maps(tensors: Mapping[str, Tensor]):
            return [schema.TensorMapT(name=name.encode(), tensorIndex=tensor.index) for name, tensor in tensors.items()]

        return schema.SignatureDefT(
            signatureKey=self._signature.encode(),
            subgraphIndex=subgraph_index,
            inputs=maps(self._inputs),
            outputs=maps(self._outputs),
        )

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is written inside has `name/` before its own name."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def adopt(self, subgraph: schema.SubGraphT, inputs: Mapping[str, int]) -> None:
        """Begins with the operations of another graph, whose buffers and codes are this model's by now."""
        subgraph.name = self.subgraph.name
        self.subgraph = subgraph
        self._inputs = {name: self.existing(index) for name, index in inputs.items()}

    def existing(self, index: int) -> Tensor:
        tensor = self.subgraph.tensors[index]
        return Tensor(index, tuple(int(size) for size in tensor.shape), tensor.type)

    @property
    def path(self) -> str:
        """The scopes around, joined: the name of the layer that is being written."""
        return "/".join(self._scope)

    # --- Ends ---

    def input(self, name: str, shape: Sequence[int], type: int) -> Tensor:
        self._inputs[name] = self._tensor(name, shape, type)
        self.subgraph.inputs = [tensor.index for tensor in self._inputs.values()]
        return self._inputs[name]

    def output(self, name: str, tensor: Tensor) -> None:
        self._outputs[name] = tensor
        self.subgraph.outputs = [tensor.index for tensor in self._outputs.values()]

    def constant(self, values, scale: np.ndarray | None = None, type: int | None = None) -> Tensor:
        """An array. `scale` makes it the quantized form of values * scale: one number, or one for each index of axis 0."""
        values = np.ascontiguousarray(values)
        type = _TYPES[values.dtype.name] if type is None else type
        data = _two_in_a_byte(values) if type == INT4 else values
        buffer = self._model.buffer(np.frombuffer(data.tobytes(), np.uint8))
        key = (buffer, values.shape, type, None if scale is None else scale.tobytes())
        if key not in self._constants:
            self._constants[key] = self._tensor("constant", values.shape, type, scale, buffer=buffer)
        return self._constants[key]

    # --- Elementwise, with broadcasting ---

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self._elementwise("ADD", schema.AddOptionsT(), x, y)

    def sub(self, x: Tensor, y: Tensor) -> Tensor:
        return self._elementwise("SUB", schema.SubOptionsT(), x, y)

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return self._elementwise("MUL", schema.MulOptionsT(), x, y)

    def squared_difference(self, x: Tensor, y: Tensor) -> Tensor:
        return self._elementwise("SQUARED_DIFFERENCE", schema.SquaredDifferenceOptionsT(), x, y)

    def rsqrt(self, x: Tensor) -> Tensor:
        return self._op("RSQRT", [x], x.shape)

    def tanh(self, x: Tensor) -> Tensor:
        return self._op("TANH", [x], x.shape)

    def relu(self, x: Tensor) -> Tensor:
        return self._op("RELU", [x], x.shape)

    def gelu(self, x: Tensor, approximate: bool) -> Tensor:
        return self._op("GELU", [x], x.shape, schema.GeluOptionsT(approximate=approximate))

    def softmax(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return self._op("SOFTMAX", [x], x.shape, schema.SoftmaxOptionsT(beta=1.0))

    def cast(self, x: Tensor) -> Tensor:
        """int32 -> float32."""
        options = schema.CastOptionsT(inDataType=x.type, outDataType=FLOAT32)
        return self._op("CAST", [x], x.shape, options)

    def dequantize(self, x: Tensor) -> Tensor:
        """int4, int8 or float16 -> float32."""
        return self._op("DEQUANTIZE", [x], x.shape, version={INT4: 6, FLOAT16: 3, INT8: 2}[x.type])

    def quantize(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        """float32 -> int8."""
        return self._op("QUANTIZE", [x], x.shape, like=_int8(scale, zero_point))

    # --- Reductions and layout ---

    def mean(self, x: Tensor) -> Tensor:
        """Over the last axis, which stays as 1."""
        return self._reduce("MEAN", x, axis=-1, keep=True)

    def sum(self, x: Tensor, axis: int) -> Tensor:
        return self._reduce("SUM", x, axis, keep=False)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._op("RESHAPE", [x, self._ints(shape)], shape, schema.ReshapeOptionsT(newShape=list(shape)), like=x)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        shape = [x.shape[axis] for axis in order]
        return self._op("TRANSPOSE", [x, self._ints(order)], shape, schema.TransposeOptionsT(), like=x)

    def split(self, x: Tensor, count: int, axis: int) -> list[Tensor]:
        shape = [size // count if number == axis else size for number, size in enumerate(x.shape)]
        options = schema.SplitOptionsT(numSplits=count)
        return self._ops("SPLIT", [self.constant(np.int32(axis)), x], [shape] * count, options, like=x)

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        return self._op("SLICE", [x, self._ints(begin), self._ints(size)], size, schema.SliceOptionsT(), like=x)

    def concatenate(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        shape = list(tensors[0].shape)
        shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
        return self._op("CONCATENATION", tensors, shape, schema.ConcatenationOptionsT(axis=axis), like=tensors[0])

    def gather(self, table: Tensor, rows: Tensor) -> Tensor:
        """Rows of a table, as they are stored there."""
        shape = (*rows.shape, *table.shape[1:])
        version = {INT4: 7, INT8: 2}.get(table.type, 1)
        return self._op("GATHER", [table, rows], shape, schema.GatherOptionsT(axis=0), version=version, like=table)

    # --- Products ---

    def fully_connected(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """float32 x [rows, in] times the transpose of weights [out, in], plus bias [out] -> float32 [rows, out].

        With integer weights the runtime quantizes x row by row as it comes.
        """
        # Version 12 brought a scale for each output to integer weights with float32 activations, version 6 the missing bias.
        version = 12 if weights.scale is not None else 6 if bias is None else 1
        options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=weights.scale is not None)
        inputs = [x, weights] if bias is None else [x, weights, bias]
        return self._op("FULLY_CONNECTED", inputs, (x.shape[0], weights.shape[0]), options, version=version)

    def fully_connected_int8(
        self, x: Tensor, weights: Tensor, bias: np.ndarray | None, scale: float, zero_point: int
    ) -> Tensor:
        """The same in whole numbers: int8 x and weights, float bias [out] -> int8 with the given scale."""
        inputs = [x, weights]
        if bias is not None:
            scales = (x.scale * weights.scale.ravel()).astype(np.float32)
            inputs.append(self.constant(np.round(bias / scales).astype(np.int32), scale=scales))
        result = _int8(scale, zero_point)
        shape = (x.shape[0], weights.shape[0])
        version = 6 if bias is None else 4
        return self._op("FULLY_CONNECTED", inputs, shape, schema.FullyConnectedOptionsT(), version=version, like=result)

    def batch_matmul(self, x: Tensor, y: Tensor, transpose_y: bool = False) -> Tensor:
        return self._batch_matmul(x, y, transpose_y, version=1, like=None)

    def batch_matmul_int8(
        self, x: Tensor, y: Tensor, scale: float, zero_point: int, transpose_y: bool = False
    ) -> Tensor:
        """The same in whole numbers: int8 x and y -> int8 with the given scale. XNNPACK wants 0 as the zero point of y."""
        return self._batch_matmul(x, y, transpose_y, version=2, like=_int8(scale, zero_point))

    # --- Inside ---

    def _batch_matmul(self, x: Tensor, y: Tensor, transpose_y: bool, version: int, like: Tensor | None) -> Tensor:
        shape = (*x.shape[:-1], y.shape[-2] if transpose_y else y.shape[-1])
        options = schema.BatchMatMulOptionsT(adjY=transpose_y)
        return self._op("BATCH_MATMUL", [x, y], shape, options, version=version, like=like)

    def _elementwise(self, name: str, options, x: Tensor, y: Tensor) -> Tensor:
        return self._op(name, [x, y], np.broadcast_shapes(x.shape, y.shape), options, like=x)

    def _reduce(self, name: str, x: Tensor, axis: int, keep: bool) -> Tensor:
        shape = list(x.shape)
        shape[axis : len(shape) if axis == -1 else axis + 1] = [1] if keep else []
        return self._op(name, [x, self.constant(np.int32(axis))], shape, schema.ReducerOptionsT(keepDims=keep))

    def _ints(self, values: Sequence[int]) -> Tensor:
        return self.constant(np.asarray(values, np.int32))

    def _op(self, name: str, inputs: Sequence[Tensor], shape: Sequence[int], options=None, **kwargs) -> Tensor:
        return self._ops(name, inputs, [shape], options, **kwargs)[0]

    def _ops(
        self,
        name: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        options=None,
        version: int = 1,
        like: Tensor | None = None,
    ) -> list[Tensor]:
        """Appends an operation; its results are float32, or of the kind of `like`."""
        like = like or Tensor(-1, (), FLOAT32)
        outputs = [self._tensor(name.lower(), shape, like.type, like.scale, like.zero_point) for shape in shapes]
        operator = schema.OperatorT(
            opcodeIndex=self._model.operator_code(name, version),
            inputs=[tensor.index for tensor in inputs],
            outputs=[tensor.index for tensor in outputs],
        )
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self.subgraph.operators.append(operator)
        return outputs

    def _tensor(
        self, name: str, shape, type: int, scale: np.ndarray | None = None, zero_point: int = 0, buffer: int = 0
    ) -> Tensor:
        shape = tuple(int(size) for size in shape)
        tensor = schema.TensorT(shape=np.asarray(shape, np.int32), type=type, buffer=buffer, name=self._unique(name))
        if scale is not None:
            zero_points = np.full(scale.size, zero_point, np.int64)
            tensor.quantization = schema.QuantizationParametersT(scale=scale.ravel(), zeroPoint=zero_points)
        self.subgraph.tensors.append(tensor)
        return Tensor(len(self.subgraph.tensors) - 1, shape, type, scale, zero_point)

    def _unique(self, name: str) -> bytes:
        name = f"{self.path}/{name}" if self._scope else name
        number = self._names[name] = self._names.get(name, -1) + 1
        return (f"{name}_{number}" if number else name).encode()


def _int8(scale: float, zero_point: int) -> Tensor:
    """An int8 tensor's kind, to make others like it."""
    return Tensor(-1, (), INT8, np.array([scale], np.float32), zero_point)


def _two_in_a_byte(values: np.ndarray) -> np.ndarray:
    """int4 as the format stores it: the earlier value in the lower half of a byte."""
    flat = np.append(values.ravel(), np.zeros(values.size % 2, values.dtype)).astype(np.uint8) & 0xF
    return flat[0::2] | (flat[1::2] << 4)
