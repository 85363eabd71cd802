"""The card says what was measured, to people and to programs."""

import csv

from tinybert_tf.report import adb_commands, write_benchmark_card
from tinybert_tf.report.benchmark_card import _plot

ROWS = [
    {"path": "a.tflite", "mb": 14.5, "threads": threads, "seq": seq, "median_ms": seq / 60, "p90_ms": seq / 50,
     "memory_mb": 20.0, "delegated": "169/174", "score": 0.85, "drop": -0.001}
    for threads in (1, 2) for seq in (32, 128)
] + [{"path": "b.onnx", "mb": 14.4, "threads": 1, "seq": 128, "median_ms": 4.2, "p90_ms": 4.4, "memory_mb": None}]  # fmt: skip


def test_page_table_and_picture(tmp_path):
    commands = adb_commands("runs/a.tflite", 128, 30522, (1, 2))
    write_benchmark_card(tmp_path / "card", ROWS, commands)
    page = (tmp_path / "card" / "benchmark.md").read_text()
    assert (
        "| a.tflite | 14.50 |       2 |    128 |      2.13 |   2.56 |        20 | 169/174 |    0.8500 | -0.0010 |"
        in page
    )
    assert "| b.onnx   | 14.40 |       1 |    128 |      4.20 |   4.40 |         – |" in page
    assert all(command in page for command in commands)
    with open(tmp_path / "card" / "benchmark.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["median_ms"]) for row in rows] == [row["median_ms"] for row in ROWS]
    assert rows[-1]["memory_mb"] == ""
    assert (tmp_path / "card" / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_no_two_lines_of_the_picture_look_alike():
    rows = [{**row, "path": f"{number}.tflite"} for number in range(14) for row in ROWS[:4]]
    (axes,) = _plot(rows).axes
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines]
    assert len(set(looks)) == len(looks) == 28
    (axes,) = _plot(ROWS).axes
    assert len(axes.lines) == 3, "b.onnx was timed on one thread alone"


def test_a_phone_gets_words_that_exist():
    push, one, two = adb_commands("runs/a.tflite", 64, 100, (1, 4))
    assert push == "adb push runs/a.tflite /data/local/tmp/a.tflite"
    assert "--num_threads=1" in one and "--num_threads=4" in two
    assert "--input_layer_shape=1,64:1,64:1,64" in one
    assert "--input_layer_value_range=input_word_ids,0,99:input_mask,1,1:input_type_ids,0,0" in one


def test_a_path_with_spaces_is_one_word():
    push, *_, last = adb_commands("runs/my model/x y.tflite", 64, 100, (1,))
    assert push == "adb push 'runs/my model/x y.tflite' /data/local/tmp/x_y.tflite"
    assert "--graph=/data/local/tmp/x_y.tflite " in last
