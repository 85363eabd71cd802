"""A comparison of methods: CSV, Markdown and a plot with mean, deviation and the paper's number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tinybert_tf.files import atomic_write
from tinybert_tf.report.curves import BLACK, STAGE_COLORS, as_it_is
from tinybert_tf.report.tables import Column, csv_table, markdown_table


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


COLUMNS = (
    Column("method", "method"),
    Column("task", "task"),
    Column("score", "dev score", _points),
    Column("deviation", "deviation", _points),
    Column("seeds", "seeds"),
    Column("paper", "the paper's, on its data", lambda value: f"{value:.1f}"),
    Column("steps", "steps"),
    Column("minutes", "minutes a run", lambda value: f"{value:.1f}"),
    Column("parameters", "parameters"),
    Column("encoder_flops", "encoder FLOPs", lambda value: f"{value / 1e9:.2f}B"),
    Column("mb", "MB dynamic", lambda value: f"{value:.1f}"),
    Column("ms", "ms dynamic", lambda value: f"{value:.2f}"),
)


def write_methods(directory: str | Path, rows: Sequence[Mapping[str, Any]], budget: str) -> None:
    """Writes `results.csv`, `results.md` and `results.png`.

    Args:
        directory: made if it is missing.
        rows: one for each method and task; keys as in `COLUMNS`, scores from 0 to 1.
        budget: the steps or minutes of each run, in words.
    """
    directory = Path(directory)
    page = [f"# Methods at {budget}", "", markdown_table(rows, COLUMNS), "", "![scores](results.png)", ""]
    for name, text in (("results.csv", csv_table(rows, COLUMNS)), ("results.md", "\n".join(page))):
        with atomic_write(directory / name) as aside:
            aside.write_text(text, encoding="utf-8")
    with atomic_write(directory / "results.png") as aside:
        _plot(rows, budget).savefig(aside, format="png", facecolor="white")


def _plot(rows: Sequence[Mapping[str, Any]], budget: str) -> Figure:
    """A panel for each task: bars of the mean with the deviation, a mark at the paper's number."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(4.6 * len(tasks), 1.2 + 0.34 * len(methods)), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axis, task in zip(axes, tasks, strict=True):
        of_task = [row for row in rows if row["task"] == task]
        places = np.array([methods.index(row["method"]) for row in of_task])
        scores = np.array([100 * row["score"] for row in of_task])
        # A single seed has no deviation: NaN draws no error bar.
        deviations = [np.nan if row.get("deviation") is None else 100 * row["deviation"] for row in of_task]
        axis.barh(places, scores, xerr=deviations, color=STAGE_COLORS[0], alpha=0.75, capsize=2.5, height=0.7)
        rows_at = zip(places, of_task, strict=True)
        published = [(row["paper"], place) for place, row in rows_at if row.get("paper") is not None]
        if published:
            axis.plot(*zip(*published, strict=True), "|", color=BLACK, markersize=12, label="the paper's")
            axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, frameon=False)
        axis.set_xlabel("dev score", fontsize=8)
        axis.set_yticks(range(len(methods)), [as_it_is(method) for method in methods], fontsize=8)
        low = min(0.0, float(scores.min()))
        axis.set_xlim(left=max(low, float(scores.min()) - 15) if low == 0 else low - 2)
        axis.set_title(f"{as_it_is(task)}, at {budget}", fontsize=9, loc="left")
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()  # of all panels: they share it
    return figure
