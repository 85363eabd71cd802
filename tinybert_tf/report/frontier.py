"""Score against size and time: the files on the frontier, and published systems."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tinybert_tf.files import atomic_write
from tinybert_tf.report.curves import STAGE_COLORS
from tinybert_tf.report.tables import Column, csv_table, markdown_table

Row = Mapping[str, Any]

COLUMNS = (
    "model",
    Column("layers", "layers"),
    Column("width", "width"),
    Column("vocab_size", "word pieces"),
    Column("quantize", "file"),
    Column("parameters", "parameters"),
    Column("mb", "MB", "{:.2f}".format),
    Column("ms", "median ms", "{:.2f}".format),
    Column("score", "dev score", "{:.4f}".format),
    Column("retention", "of the teacher", "{:.1%}".format),
    Column("frontier", "on the frontier of"),
)

# Shares of BERT_BASE's average on GLUE's test sets, and sizes of the weights in float32 (4 bytes a parameter).
# Jiao et al. 2020, Table 1, where BERT_BASE has 79.5.
PUBLISHED = (
    {"model": "TinyBERT4 (paper)", "mb": 58.0, "retention": 77.0 / 79.5},
    {"model": "MobileBERT_TINY (paper)", "mb": 60.4, "retention": 77.0 / 79.5},
    {"model": "BERT_TINY (paper)", "mb": 58.0, "retention": 70.2 / 79.5},
    {"model": "TinyBERT6 (paper)", "mb": 268.0, "retention": 79.4 / 79.5},
)


def with_frontier(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows, each with `frontier`: the measures ("MB", "ms") in which no other row is at least as good and scores more."""
    found = []
    for row in rows:
        measures = [
            name for key, name in (("mb", "MB"), ("ms", "ms")) if row.get(key) is not None and _is_best(row, rows, key)
        ]
        found.append({**row, "frontier": ", ".join(measures) or None})
    return found


def smallest_that_keeps(rows: Sequence[Row], retention: float, key: str = "mb") -> Row | None:
    """The row with the least `key` among those that keep a share of the teacher's score; None where none does."""
    return min((row for row in rows if row["retention"] >= retention), key=lambda row: row[key], default=None)


def write_frontier(directory: str | Path, rows: Sequence[Row], task: str, published: Sequence[Row] = PUBLISHED) -> None:
    """Writes `frontier.md`, `frontier.csv` and `frontier.png`.

    Args:
        directory: made if it is missing.
        rows: one for each file; keys as in `COLUMNS`.
        task: for the titles.
        published: reference points of others, with `model`, `mb` and `retention`.
    """
    directory, rows = Path(directory), with_frontier(rows)
    page = [
        f"# Frontier: {task}",
        "",
        "Scores are those of the files on the dev set. All files took turns in one run on one thread: their ratios are more",
        "reliable than their times.",
        "",
        markdown_table(rows, COLUMNS),
        "",
        "![score against size and time](frontier.png)",
        "",
    ]
    with atomic_write(directory / "frontier.md") as aside:
        aside.write_text("\n".join(page), encoding="utf-8")
    with atomic_write(directory / "frontier.csv") as aside:
        aside.write_text(csv_table(rows, COLUMNS), encoding="utf-8")
    with atomic_write(directory / "frontier.png") as aside:
        _plot(rows, task, published).savefig(aside, format="png", dpi=120, bbox_inches="tight")


def _is_best(row: Row, rows: Sequence[Row], key: str) -> bool:
    better = lambda other: (
        other[key] <= row[key]
        and other["score"] >= row["score"]
        and (other[key], other["score"]) != (row[key], row["score"])
    )
    return not any(better(other) for other in rows if other.get(key) is not None)


def _plot(rows: Sequence[Row], task: str, published: Sequence[Row]) -> Figure:
    """Two panels: the share of the teacher's score that a file keeps against its size and against its time. Files with fewer
    word pieces than others have hollow markers.
    """
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    kinds = list(dict.fromkeys((row["quantize"], row["layers"]) for row in rows))
    modes = list(dict.fromkeys(quantize for quantize, _ in kinds))
    most_words = max((row.get("vocab_size") or 0 for row in rows), default=0)
    for axes, key, label in zip(figure.subplots(1, 2), ("mb", "ms"), ("MB", "median ms, one thread"), strict=True):
        for quantize, layers in kinds:
            chosen = [row for row in rows if (row["quantize"], row["layers"]) == (quantize, layers)]
            color, marker = STAGE_COLORS[layers % len(STAGE_COLORS)], "os^Dvp"[modes.index(quantize) % 6]
            faces = [color if (row.get("vocab_size") or 0) == most_words else "none" for row in chosen]
            places = [[row[name] for row in chosen] for name in (key, "retention")]
            axes.scatter(*places, facecolors=faces, edgecolors=color, marker=marker)
            axes.scatter([], [], color=color, marker=marker, label=f"{layers} layers, {quantize}")
        best = sorted(
            ((row[key], row["retention"]) for row in rows if key.upper() in (row["frontier"] or "").upper()),
        )
        if best:
            axes.step(*zip(*best, strict=True), where="post", color="gray", linewidth=1, zorder=0)
        for number, row in enumerate(published if key == "mb" else ()):
            axes.scatter(row["mb"], row["retention"], marker="*", color="black")
            # Left of the point, in turn above and below it: two of them have one score and almost one size.
            look = {
                "fontsize": 7,
                "ha": "right",
                "xytext": (-3, -9 if number % 2 else 3),
                "textcoords": "offset points",
            }
            axes.annotate(row["model"], (row["mb"], row["retention"]), **look)
        for share in (0.968, 0.99):
            axes.axhline(share, color="gray", linestyle=":", linewidth=1)
        axes.set(xlabel=label, ylabel="share of the teacher's score", xscale="log", title=task)
        axes.xaxis.set_major_formatter("{x:g}")
        if key == "ms":  # often less than a power of ten
            axes.xaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
