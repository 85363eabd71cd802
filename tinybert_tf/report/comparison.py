"""Compares several trainings: their measurements on held-out text or on dev, step by step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinybert_tf.files import atomic_write
from tinybert_tf.report.curves import (
    EVALUATED,
    STAGE_COLORS,
    dev_metric,
    finish_axis,
    label_ends,
    scale_axis,
    series_of,
)

_LOSSES = ("loss", "attention_loss", "hidden_loss", "prediction_loss")


def plot_comparison(trainings: Mapping[str, Sequence[dict[str, Any]]], path: str | Path) -> Path | None:
    """Draws a panel for each measurement of a stage that at least two trainings share into a PNG; None if there is none.

    Args:
        trainings: name -> the records of its metrics.jsonl.
        path: the picture.
    """
    panels = _panels(trainings)
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(4.6 * columns, 5.5), 3.2 * rows), dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = {name: STAGE_COLORS[number % len(STAGE_COLORS)] for number, name in enumerate(trainings)}
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
        _draw(axis, title, lines, colors)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", facecolor="white")
    return Path(path)


def _panels(trainings) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Title -> training -> (steps, values)."""
    stages = dict.fromkeys(record["stage"] for records in trainings.values() for record in records)
    panels = {}
    for stage in stages:
        for split, word in EVALUATED.items():
            for key in _keys(trainings, split):
                lines = {name: series_of(records, stage, split, key) for name, records in trainings.items()}
                lines = {name: line for name, line in lines.items() if len(line[0]) > 1}
                if len(lines) > 1:
                    panels[f"{stage}: {word} {key}".replace("_", " ")] = lines
    return panels


def _keys(trainings, split: str) -> Sequence[str]:
    """The measurements shown: the dev score, and the losses on held-out text."""
    if split != "dev":
        return _LOSSES
    metrics = dict.fromkeys(metric for records in trainings.values() if (metric := dev_metric(records)))
    return list(metrics)[:1]


def _draw(axis: Axes, title: str, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], colors) -> None:
    labels = []
    scale_axis(axis, np.concatenate([values for _, values in lines.values()]))
    for number, (name, (steps, values)) in enumerate(lines.items()):
        marker = "osD^vP"[number % 6]  # a marker in addition to the color
        axis.plot(steps, values, color=colors[name], marker=marker, markersize=3.5, linewidth=1.6)
        labels.append((values[-1], f"{name}  {values[-1]:.3g}", colors[name]))
    finish_axis(axis, title)
    label_ends(axis, labels)
