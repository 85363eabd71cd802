"""Which files are on the frontier, and what is written of it."""

import csv

from tinybert_tf.report.frontier import smallest_that_keeps, with_frontier, write_frontier

ROWS = [
    {"model": "a", "layers": 2, "quantize": "int8", "mb": 3.0, "ms": 1.0, "score": 0.80, "retention": 0.90},
    {"model": "b", "layers": 4, "quantize": "int8", "mb": 5.0, "ms": 0.9, "score": 0.88, "retention": 0.97},
    {"model": "c", "layers": 4, "quantize": "int4", "mb": 6.0, "ms": 2.0, "score": 0.86, "retention": 0.96},
    {"model": "d", "layers": 6, "quantize": "int8", "mb": 9.0, "ms": 4.0, "score": 0.90, "retention": 0.99},
]


def test_a_file_is_on_the_frontier_unless_another_is_smaller_and_better():
    assert [row["frontier"] for row in with_frontier(ROWS)] == ["MB", "MB, ms", None, "MB, ms"]


def test_the_smallest_and_the_fastest_that_keep_enough():
    assert smallest_that_keeps(ROWS, 0.96)["model"] == "b"
    assert smallest_that_keeps(ROWS, 0.9, "ms")["model"] == "b"
    assert smallest_that_keeps(ROWS, 0.999) is None


def test_a_table_a_file_for_programs_and_a_plot(tmp_path):
    write_frontier(tmp_path / "out", ROWS, "sst2")
    assert "97.0%" in (tmp_path / "out" / "frontier.md").read_text()
    with (tmp_path / "out" / "frontier.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["a", "b", "c", "d"]
    assert (tmp_path / "out" / "frontier.png").stat().st_size > 10_000
