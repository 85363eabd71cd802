"""A benchmark's rows as a page, a table for programs and a picture."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tinybert_tf.files import atomic_write
from tinybert_tf.report.curves import STAGE_COLORS, as_it_is
from tinybert_tf.report.tables import Column, csv_table, markdown_table

_FOLDER = "/data/local/tmp"
COLUMNS = (
    "path",
    Column("mb", "MB", "{:.2f}".format),
    "threads",
    Column("seq", "tokens"),
    Column("median_ms", "median ms", "{:.2f}".format),
    Column("p90_ms", "p90 ms", "{:.2f}".format),
    Column("cpu_ms", "CPU ms", "{:.2f}".format),
    Column("memory_mb", "memory MB", "{:.0f}".format),
    Column("delegated", "XNNPACK"),
    Column("score", "dev score", "{:.4f}".format),
    Column("drop", "drop", "{:.4f}".format),
)


def write_benchmark_card(directory: str | Path, rows: Sequence[Mapping[str, Any]], commands: Sequence[str]) -> None:
    """Writes `benchmark.md`, `benchmark.csv` and `benchmark.png`.

    Args:
        directory: made if it is missing.
        rows: of a benchmark; keys as in `COLUMNS`.
        commands: that measure the same on a phone.
    """
    directory = Path(directory)
    page = [
        "# Benchmark",
        "",
        "All files took turns in one run: their ratios hold better than their times.",
        "",
        markdown_table(rows, COLUMNS),
        "![median time by length](benchmark.png)",
        "",
        "## On a phone",
        "",
        "```",
        *commands,
        "```",
        "",
    ]
    with atomic_write(directory / "benchmark.md") as aside:
        aside.write_text("\n".join(page), encoding="utf-8")
    with atomic_write(directory / "benchmark.csv") as aside:
        aside.write_text(csv_table(rows, COLUMNS), encoding="utf-8")
    with atomic_write(directory / "benchmark.png") as aside:
        _plot(rows).savefig(aside, format="png", dpi=120, bbox_inches="tight")


def adb_commands(path: str | Path, seq_len: int, vocab_size: int, threads: Sequence[int]) -> list[str]:
    """Commands that measure a file on a connected phone, with TensorFlow's `benchmark_model` for Android.

    Ranges are given because the tool draws numbers up to 99 otherwise, and there are but two types of tokens.
    """
    name = re.sub(r"[^\w.-]", "_", Path(path).name)
    inputs = ("input_word_ids", "input_mask", "input_type_ids")
    ranges = f"{inputs[0]},0,{vocab_size - 1}:{inputs[1]},1,1:{inputs[2]},0,0"
    common = (
        f"--input_layer={','.join(inputs)} --input_layer_shape={':'.join([f'1,{seq_len}'] * 3)} "
        f"--input_layer_value_range={ranges} --use_xnnpack=true --num_runs=100 --report_peak_memory_footprint=true"
    )
    run = f"adb shell taskset f0 {_FOLDER}/benchmark_model --graph={_FOLDER}/{name}"
    return [
        f"adb push {shlex.quote(str(path))} {_FOLDER}/{name}",
        *(f"{run} --num_threads={count} {common}" for count in threads),
    ]


def _plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Median time by length, a line for each file and number of threads."""
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    paths = list(dict.fromkeys(row["path"] for row in rows))
    counts = list(dict.fromkeys(row["threads"] for row in rows))
    for number, path in enumerate(paths):
        # After each cycle of colors the markers change.
        look = {"color": STAGE_COLORS[number % len(STAGE_COLORS)], "marker": "os^Dvx"[number // len(STAGE_COLORS) % 6]}
        for count, line in zip(counts, ("-", "--", ":", "-.") * len(counts), strict=False):
            points = sorted((r["seq"], r["median_ms"]) for r in rows if (r["path"], r["threads"]) == (path, count))
            label = f"{as_it_is(Path(path).name)}, {count} thread{'s' if count > 1 else ''}"
            if points:
                axes.plot(*zip(*points, strict=True), line, label=label, **look)
    axes.set(xlabel="tokens", ylabel="median ms", yscale="log", xticks=sorted({row["seq"] for row in rows}))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
