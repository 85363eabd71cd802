"""Tables say what is there and leave out what is not."""

import csv
import io

from tinybert_tf.report.tables import Column, csv_table, markdown_table

ROWS = [
    {"model": "teacher", "score": 0.886, "parameters": 109_482_240},
    {"model": "student", "score": 0.871, "parameters": 14_350_248, "int8_mb": 14.5},
]


def test_markdown_aligns_numbers_and_marks_what_is_missing():
    table = markdown_table(ROWS, ["model", "score", "parameters", "int8_mb"])
    assert table.splitlines() == [
        "| model   | score |  parameters | int8_mb |",
        "| ------- | ----: | ----------: | ------: |",
        "| teacher | 0.886 | 109,482,240 |       – |",
        "| student | 0.871 |  14,350,248 |    14.5 |",
    ]


def test_a_column_that_no_row_has_is_left_out():
    columns = ["model", "float_ms", Column("score", "dev score", lambda value: f"{100 * value:.1f}")]
    assert "float_ms" not in markdown_table(ROWS, columns)
    assert "| dev score |" in markdown_table(ROWS, columns) and "88.6" in markdown_table(ROWS, columns)
    assert csv_table(ROWS, columns) == "model,score\nteacher,0.886\nstudent,0.871\n"
    assert markdown_table([], columns) == ""


def test_text_stays_in_its_cell():
    rows = [{"name": 'a | b\n<script>"x"'}]
    assert markdown_table(rows, ["name"]).splitlines()[2] == '| a \\| b &lt;script>"x" |'
    assert list(csv.DictReader(io.StringIO(csv_table(rows, ["name"])))) == rows
