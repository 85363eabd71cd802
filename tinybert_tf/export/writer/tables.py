"""Embedding tables in a file: rows are looked up in the type in which they are stored, and only then become float32.

Shapes: S sequence, V rows, D width, G groups of a coded row.
"""

import numpy as np

from tinybert_tf.bert import WordCodes
from tinybert_tf.export.writer.builder import INT4, INT32, GraphBuilder, Tensor
from tinybert_tf.export.writer.quantization import INTEGER_BITS, quantized

# The scale of integers that a MUL scales afterwards.
ONE = np.ones(1, np.float32)
# Types of tables in whose place a coded one is written.
CODED = ("int8", "int4")


class Table:
    """Embedding rows [rows, D]. Integers have a scale for each dimension, which `scaled` applies to rows or to a sum of rows:
    a scale for each row would need a second table and a second look-up.

    On the word table of a pretrained MiniLM a scale for each dimension leaves 1.2% of error (root mean square) in int8,
    one for each row 0.7%, a single one 7.7%.
    """

    def __init__(
        self, rows: np.ndarray, stored: str, counts: np.ndarray | None = None, sensitivity: np.ndarray | None = None
    ):
        self._type, self._rows, self._scales = INT4 if stored == "int4" else None, rows, None
        if stored in INTEGER_BITS:
            self._rows, self._scales = quantized(rows, INTEGER_BITS[stored], axis=1, moments=sensitivity, counts=counts)

    def gathered(self, graph: GraphBuilder, numbers: Tensor, start: int = 0) -> Tensor:
        if self._scales is None:
            return graph.gather(graph.constant(self._rows[start:]), numbers)
        return _looked_up(graph, self._rows[start:], self._type, numbers)

    def rows(self, graph: GraphBuilder, start: int, stop: int) -> Tensor:
        if self._scales is None:
            return graph.constant(self._rows[start:stop])
        return graph.dequantize(graph.constant(self._rows[start:stop], scale=ONE, type=self._type))

    def scaled(self, graph: GraphBuilder, rows: Tensor) -> Tensor:
        return rows if self._scales is None else graph.mul(rows, graph.constant(self._scales))


class CodedTable:
    """The word table of `WordCodes`: a word is the sum of its whole row and of its vectors, one of which is zero.

    It costs four look-ups more than a `Table`, the last of G vectors a token.

    Args:
        codes: of the table.
        type: in which whole rows are stored: INT4, or INT8 for runtimes before 2.18.
    """

    def __init__(self, codes: WordCodes, type: int = INT4):
        self._codes, self._type = codes, type

    def gathered(self, graph: GraphBuilder, numbers: Tensor) -> Tensor:
        """[S] -> float32 [S, D]."""
        codes = self._codes
        fits = len(codes.places) <= np.iinfo(np.int16).max
        places = graph.constant(codes.places.astype(np.int16 if fits else np.int32))
        place, zero = graph.gather(places, numbers), graph.constant(np.int32(0))
        if fits:
            place = graph.cast(place, INT32)
        whole = _looked_up(graph, codes.rows, self._type, graph.maximum(place, zero))
        behind = graph.maximum(graph.mul(place, graph.constant(np.int32(-1))), zero)
        coded = graph.dequantize(self._vectors(graph, behind))
        parts = ((whole, codes.row_scales), (coded, codes.codebook_scales))
        return graph.add(*(graph.mul(rows, graph.constant(scales)) for rows, scales in parts))

    def scaled(self, graph: GraphBuilder, rows: Tensor) -> Tensor:
        return rows

    def _vectors(self, graph: GraphBuilder, rows: Tensor) -> Tensor:
        """Rows of the codes [S] -> the integers of their vectors, [S, D]."""
        vectors = self._codes.codebooks
        groups, count, width = vectors.shape
        # Stored as int8, which every runtime looks up: -128 is code 0.
        codes = graph.constant((self._codes.codes.astype(np.int16) - 128).astype(np.int8))
        first = graph.constant((128 + count * np.arange(groups)).astype(np.int32))
        numbers = graph.add(graph.cast(graph.gather(codes, rows), INT32), first)
        numbers = graph.reshape(numbers, (rows.shape[0] * groups,))
        found = graph.gather(graph.constant(vectors.reshape(groups * count, width), scale=ONE), numbers)
        return graph.reshape(found, (rows.shape[0], groups * width))


def _looked_up(graph: GraphBuilder, table: np.ndarray, type: int | None, numbers: Tensor) -> Tensor:
    """Rows [S] of a table of integers -> their float32 values, [S, D].

    LiteRT's GATHER takes int4 rows to begin at whole bytes, which those of an odd width do not: they are stored with a zero
    behind.
    """
    width = table.shape[1]
    if type == INT4 and width % 2:
        table = np.pad(table, ((0, 0), (0, 1)))
    found = graph.dequantize(graph.gather(graph.constant(table, scale=ONE, type=type), numbers))
    return found if table.shape[1] == width else graph.slice(found, (0, 0), (*numbers.shape, width))
