"""Embedding tables as a file stores them."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tinybert_tf.checkpoints.word_codes import WordCodes
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.builder import INT32, ModelBuilder
from tinybert_tf.export.writer.tables import CodedTable, Table


def looked_up(table, ids: np.ndarray) -> tuple[np.ndarray, int]:
    """The rows of ids that a file with this table gives, and its size in bytes."""
    builder = ModelBuilder()
    with builder.graph("serving_default") as graph:
        rows = table.gathered(graph, graph.input("ids", ids.shape, INT32))
        graph.output("rows", table.scaled(graph, rows))
    content = flatbuffer.pack(builder.finish())
    return Interpreter(model_content=content).get_signature_runner()(ids=ids)["rows"], len(content)


def random_codes(words: int, whole: int, width: int, group: int) -> WordCodes:
    random, groups = np.random.default_rng(0), width // group
    rows = random.integers(-7, 8, (whole + 1, width)).astype(np.int8)
    codes = random.integers(1, 256, (words - whole + 1, groups)).astype(np.uint8)
    vectors = random.integers(-127, 128, (groups, 256, group)).astype(np.int8)
    rows[0], codes[0], vectors[:, 0] = 0, 0, 0
    places = random.permutation(np.concatenate([np.arange(1, whole + 1), -np.arange(1, words - whole + 1)]))
    scales = random.uniform(0.01, 0.1, (2, width)).astype(np.float32)
    return WordCodes(places.astype(np.int32), rows, scales[0], codes, vectors, scales[1])


# 40,000 rows are more than int16 counts; LiteRT misreads int4 rows of odd width.
@pytest.mark.parametrize(("words", "width", "group"), [(700, 24, 6), (40_000, 8, 4), (700, 15, 5)])
def test_a_file_looks_up_whole_and_coded_rows(words, width, group):
    codes = random_codes(words, words // 3, width, group)
    ids = np.concatenate([np.arange(20), np.random.default_rng(1).integers(0, words, 80), [words - 1]]).astype(np.int32)
    assert (codes.places[ids] > 0).any() and (codes.places[ids] < 0).any()
    rows, _ = looked_up(CodedTable(codes), ids)
    np.testing.assert_allclose(rows, codes.table()[ids], rtol=1e-5, atol=1e-6)


def test_codes_take_a_byte_for_a_group():
    codes = random_codes(20_000, 1000, 48, 6)
    ids = np.zeros(3, np.int32)
    _, coded = looked_up(CodedTable(codes), ids)
    _, plain = looked_up(Table(codes.table(), "int4"), ids)
    expected = 1000 * 48 / 2 + 19_000 * 8 + 20_000 * 2 + 8 * 256 * 6
    assert abs(coded - expected) < 4000 and coded < 0.5 * plain


def test_rows_of_an_odd_width_take_four_bits_more():
    ids, sizes = np.zeros(3, np.int32), []
    for width in (33, 34):
        sizes.append(looked_up(Table(np.random.default_rng(0).normal(size=(2000, width)), "int4"), ids)[1])
    assert abs(sizes[0] - sizes[1]) < 1000


@pytest.mark.parametrize("width", [8, 9, 33])
@pytest.mark.parametrize("stored", ["float32", "int16", "int8", "int4"])
def test_a_plain_table_is_within_half_a_step(stored, width):
    table = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    ids = np.arange(50, dtype=np.int32)
    rows, _ = looked_up(Table(table, stored), ids)
    step = np.abs(table).max(axis=0) * {"float32": 1e-6, "int16": 1 / 32767, "int8": 1 / 127, "int4": 1 / 7}[stored]
    # With four bits the largest values may be clipped.
    allowed = 0.51 * step if stored != "int4" else np.maximum(0.51 * step, 0.25 * np.abs(table).max(axis=0))
    assert (np.abs(rows - table) <= allowed).all()
