"""Builds a TFLite model operator by operator.

A BERT uses twenty kinds of operators in a fixed order; each is written exactly as the runtime will read it. Constants of
equal content are stored once, also across the graphs of a model with several lengths.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinybert_tf.export.writer.runtimes import FIRST_RUNTIMES, latest

FLOAT32 = schema.TensorType.FLOAT32
FLOAT16 = schema.TensorType.FLOAT16
INT4 = schema.TensorType.INT4
INT8 = schema.TensorType.INT8
INT16 = schema.TensorType.INT16
INT32 = schema.TensorType.INT32

_TYPES = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8, "int16": INT16, "int32": INT32}
_OPERATOR_CODE_IN_ONE_BYTE = 127  # readers of the first schema versions find this in place of a higher code
_RUNTIME_ENTRY = b"min_runtime_version"
_RUNTIME_ENTRY_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of one graph, by its index in it. With a scale it means (values - zero_point) * scale."""

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
        self._codes: dict[tuple[str, int], int] = {}
        self._runtimes: set[str] = set()  # the first runtime of each operator

    @contextlib.contextmanager
    def graph(self, signature: str) -> Iterator["GraphBuilder"]:
        """Adds a graph; it is called by the name of its signature."""
        graph = GraphBuilder(self, signature)
        yield graph
        self._model.subgraphs.append(graph.subgraph)
        self._model.signatureDefs.append(graph.signature(len(self._model.subgraphs) - 1))

    @contextlib.contextmanager
    def graph_behind(self, model: schema.ModelT, signature: str) -> Iterator[tuple["GraphBuilder", dict[str, Tensor]]]:
        """Continues the only graph of another model: yields that graph and its outputs by name.

        `model` comes from TensorFlow's converter. It is consumed: its buffers are moved into this model.
        """
        (subgraph,), (ends,) = model.subgraphs, model.signatureDefs
        first_code = len(self._model.operatorCodes)
        self._model.operatorCodes += model.operatorCodes
        self._runtimes |= {_text(model, entry.buffer) for entry in model.metadata if entry.name == _RUNTIME_ENTRY}
        for operator in subgraph.operators:
            operator.opcodeIndex += first_code
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            tensor.buffer = 0 if data is None or not len(data) else self.buffer(np.asarray(data, np.uint8))
        with self.graph(signature) as graph:
            graph.adopt(subgraph, {entry.name.decode(): entry.tensorIndex for entry in ends.inputs})
            yield graph, {entry.name.decode(): graph.existing(entry.tensorIndex) for entry in ends.outputs}

    def finish(self) -> schema.ModelT:
        """The model, with the first TensorFlow Lite version that knows all of its operators in its metadata."""
        version = latest(self._runtimes).encode().ljust(_RUNTIME_ENTRY_BYTES, b"\0")
        entry = schema.MetadataT(name=_RUNTIME_ENTRY, buffer=self.buffer(np.frombuffer(version, np.uint8)))
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
        """The index of an operator in the model's list; KeyError if `FIRST_RUNTIMES` does not list it."""
        self._runtimes.add(FIRST_RUNTIMES[name, version])
        if (name, version) not in self._codes:
            self._codes[name, version] = len(self._model.operatorCodes)
            code = getattr(schema.BuiltinOperator, name)
            old = min(code, _OPERATOR_CODE_IN_ONE_BYTE)
            self._model.operatorCodes.append(
                schema.OperatorCodeT(deprecatedBuiltinCode=old, builtinCode=code, version=version)
            )
        return self._codes[name, version]


class GraphBuilder:
    """One graph. Each method appends an operator and returns its result; shapes are static."""

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
        """Prefixes the names of all tensors that are written inside with `name/`."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def adopt(self, subgraph: schema.SubGraphT, inputs: Mapping[str, int]) -> None:
        """Starts with the operators of another graph, whose buffers and operator codes this model already has."""
        subgraph.name = self.subgraph.name
        self.subgraph = subgraph
        self._inputs = {name: self.existing(index) for name, index in inputs.items()}

    def existing(self, index: int) -> Tensor:
        tensor = self.subgraph.tensors[index]
        return Tensor(index, tuple(int(size) for size in tensor.shape), tensor.type)

    @property
    def path(self) -> str:
        """The enclosing scopes, joined: the name of the layer that is being written."""
        return "/".join(self._scope)

    # --- Inputs, outputs, constants ---

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

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        return self._elementwise("MAXIMUM", schema.MaximumMinimumOptionsT(), x, y)

    def rsqrt(self, x: Tensor) -> Tensor:
        return self._op("RSQRT", [x], x.shape)

    def tanh(self, x: Tensor) -> Tensor:
        return self._op("TANH", [x], x.shape)

    def logistic(self, x: Tensor) -> Tensor:
        return self._op("LOGISTIC", [x], x.shape)

    def relu(self, x: Tensor) -> Tensor:
        return self._op("RELU", [x], x.shape)

    def gelu(self, x: Tensor, approximate: bool) -> Tensor:
        return self._op("GELU", [x], x.shape, schema.GeluOptionsT(approximate=approximate))

    def softmax(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return self._op("SOFTMAX", [x], x.shape, schema.SoftmaxOptionsT(beta=1.0))

    def cast(self, x: Tensor, to: int = FLOAT32) -> Tensor:
        """int8, int16 or int32 -> int32 or float32."""
        options = schema.CastOptionsT(inDataType=x.type, outDataType=to)
        return self._op("CAST", [x], x.shape, options, like=Tensor(-1, (), to))

    def dequantize(self, x: Tensor) -> Tensor:
        """int4, int8, int16 or float16 -> float32."""
        return self._op("DEQUANTIZE", [x], x.shape, version={INT4: 6, INT16: 3, FLOAT16: 3, INT8: 2}[x.type])

    def quantize(self, x: Tensor, scale: float, zero_point: int) -> Tensor:
        """float32 -> int8."""
        return self._op("QUANTIZE", [x], x.shape, like=_int8(scale, zero_point))

    # --- Reductions and layout ---

    def mean(self, x: Tensor) -> Tensor:
        """Over the last axis, which is kept with size 1."""
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

    def concatenation(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._op("CONCATENATION", parts, shape, schema.ConcatenationOptionsT(axis=axis))

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        return self._op("SLICE", [x, self._ints(begin), self._ints(size)], size, schema.SliceOptionsT(), like=x)

    def gather(self, table: Tensor, rows: Tensor) -> Tensor:
        """Rows of a table, in the table's type."""
        shape = (*rows.shape, *table.shape[1:])
        version = {INT4: 7, INT16: 4, INT8: 2}.get(table.type, 1)
        return self._op("GATHER", [table, rows], shape, schema.GatherOptionsT(axis=0), version=version, like=table)

    # --- Products ---

    def fully_connected(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """float32 x [rows, in] times the transpose of weights [out, in], plus bias [out] -> float32 [rows, out].

        With integer weights the runtime quantizes x row by row while it runs. Weights of a single scale run on older
        runtimes than weights with a scale for each output.
        """
        is_integer = weights.scale is not None
        if is_integer:
            version = 9 if weights.scale.size == 1 else 12
        else:
            version = 6 if bias is None else 1
        options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=is_integer)
        inputs = [x, weights] if bias is None else [x, weights, bias]
        return self._op("FULLY_CONNECTED", inputs, (x.shape[0], weights.shape[0]), options, version=version)

    def fully_connected_int8(
        self, x: Tensor, weights: Tensor, bias: np.ndarray | None, scale: float, zero_point: int
    ) -> Tensor:
        """The same in integers: int8 x and weights, float bias [out] -> int8 with the given scale.

        Version 10, although the kernel exists since version 4: runtimes before 2.11 use the first of the weights' scales for
        all outputs, without an error. With this version they refuse the file.
        """
        inputs = [x, weights]
        if bias is not None:
            scales = (x.scale * weights.scale.ravel()).astype(np.float32)
            inputs.append(self.constant(np.round(bias / scales).astype(np.int32), scale=scales))
        result = _int8(scale, zero_point)
        shape = (x.shape[0], weights.shape[0])
        return self._op("FULLY_CONNECTED", inputs, shape, schema.FullyConnectedOptionsT(), version=10, like=result)

    def batch_matmul(self, x: Tensor, y: Tensor, transpose_y: bool = False) -> Tensor:
        return self._batch_matmul(x, y, transpose_y, version=1, like=None)

    def batch_matmul_int8(
        self, x: Tensor, y: Tensor, scale: float, zero_point: int, transpose_y: bool = False
    ) -> Tensor:
        """The same in integers: int8 x and y -> int8 with the given scale. XNNPACK requires zero point 0 for y."""
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
        """Appends an operator; its results are float32, or have type, scale and zero point of `like`."""
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
    """A template: type, scale and zero point of an int8 tensor."""
    return Tensor(-1, (), INT8, np.array([scale], np.float32), zero_point)


def _text(model: schema.ModelT, buffer: int) -> str:
    return bytes(np.asarray(model.buffers[buffer].data, np.uint8)).rstrip(b"\0").decode()


def _two_in_a_byte(values: np.ndarray) -> np.ndarray:
    """int4 values packed as the format stores them: the first of two values in the lower half of a byte."""
    flat = np.append(values.ravel(), np.zeros(values.size % 2, values.dtype)).astype(np.uint8) & 0xF
    return flat[0::2] | (flat[1::2] << 4)
