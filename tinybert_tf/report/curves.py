"""Training curves from metrics.jsonl: a panel of losses for each stage, and the dev score beside them."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, parse_json_object

# Okabe and Ito's palette, which is safe for the common kinds of color blindness.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
LOSS_COLORS = {
    "loss": BLACK,
    "attention_loss": BLUE,
    "hidden_loss": VERMILLION,
    "embedding_loss": GREEN,
    "prediction_loss": PURPLE,
}
STAGE_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
# Labels of the splits in a picture.
EVALUATED = {"dev": "dev", "held_out": "held-out"}
# Numbers of a record that are not scores.
_NO_SCORES = {"step", "epoch", "examples_per_second", "learning_rate", "seconds", "examples"}
_LONGEST_NAME, _MOST_STEPS = 60, 1 << 50
_SMOOTHED_FROM = 60  # points; a shorter line needs no smoothing


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; InputError with the line number for a line that is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a run directory that a training program has written") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = parse_json_object(line, f"{path}, line {number}", "fix or delete the line")
        expected = {"stage": "a string", "step": "an integer", "split": '"train", "dev" or "held_out"'}
        valid = {
            "stage": isinstance(record.get("stage"), str),
            "step": type(record.get("step")) is int and 0 <= record["step"] < _MOST_STEPS,
            "split": record.get("split") in ("train", *EVALUATED),
        }
        for key, what in expected.items():
            if not valid[key]:
                raise InputError(f'{path}, line {number}: "{key}" must be {what}, found {record.get(key)!r}')
        for key, value in record.items():
            if type(value) is int and abs(value) > sys.float_info.max:
                raise InputError(f'{path}, line {number}: "{key}" is too large to be drawn')
        records.append(record)
    return records


def plot_curves(records: Sequence[dict[str, Any]], path: str | Path, title: str = "") -> Path:
    """Draws the records of one run into a PNG.

    One panel a stage holds its training losses (dashed: the same on dev or held-out text); the last panel holds the dev
    score of every stage. A vertical axis is logarithmic where a stage's losses span more than a factor of ten.
    """
    stages, metric = _stages(records), dev_metric(records)
    losses, scores = _losses(records), _scores(records)
    panels = [("losses", stage) for stage in losses] + ([("scores", "")] if scores else [])
    if not panels:
        raise InputError("no training loss and no dev score among the records: there is nothing to draw")

    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(
        figsize=(max(4.3 * columns, 5.5), 3.2 * rows + (0.35 if title else 0)), dpi=130, layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (kind, stage) in zip(axes, panels, strict=False):
        if kind == "losses":
            _draw_losses(axis, losses[stage], stage)
        else:
            _draw_scores(axis, scores, metric, {stage: STAGE_COLORS[i % 6] for i, stage in enumerate(stages)})
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", facecolor="white")
    return Path(path)


def can_plot(records: Sequence[dict[str, Any]]) -> bool:
    """Whether `plot_curves` has something to draw: a run that has just begun may have no training loss and no dev score."""
    return bool(_losses(records) or _scores(records))


def _stages(records) -> list[str]:
    return list(dict.fromkeys(record["stage"] for record in records))


def _losses(records) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Stage -> name -> (steps, values), of the stages that have training losses."""
    losses = {stage: _loss_series(records, stage) for stage in _stages(records)}
    return {stage: series for stage, series in losses.items() if series}


def _scores(records) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Stage -> (steps, dev scores), of the stages that have any."""
    metric = dev_metric(records)
    scores = {stage: series_of(records, stage, "dev", metric) for stage in _stages(records)} if metric else {}
    return {stage: series for stage, series in scores.items() if len(series[0])}


def series_of(records, stage: str, split: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one measurement; what no float32 holds counts as infinite, since no axis can show it."""
    points = [
        (record["step"], float(record[key]))
        for record in records
        if record["stage"] == stage and record["split"] == split and isinstance(record.get(key), int | float)
    ]
    steps, values = zip(*points, strict=True) if points else ((), ())
    with np.errstate(over="ignore"):
        return np.array(steps), np.array(values, np.float32).astype(np.float64)


def _loss_series(records, stage: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = dict.fromkeys(["loss", *(name for name in LOSS_COLORS if name != "loss")])
    names |= dict.fromkeys(key for record in records for key in record if key.endswith("_loss"))
    series = {name: series_of(records, stage, "train", name) for name in names}
    series = {name: points for name, points in series.items() if len(points[0])}
    parts = [name for name in series if name != "loss"]
    if "loss" in series and len(parts) == 1:
        whole, part = series["loss"][1], series[parts[0]][1]
        if len(whole) == len(part) and np.allclose(whole, part, rtol=1e-3, equal_nan=True):
            del series[parts[0]]  # the sum of one part: one line is enough
    evaluated = {
        f"{word} {name}": series_of(records, stage, split, name) for split, word in EVALUATED.items() for name in series
    }
    return series | {name: points for name, points in evaluated.items() if len(points[0])}


def dev_metric(records) -> str | None:
    """The score that dev records carry: "score" where there is one, else the first that is neither a loss nor a speed."""
    keys = dict.fromkeys(
        key
        for record in records
        if record["split"] == "dev"
        for key, value in record.items()
        if isinstance(value, int | float) and not key.endswith("loss") and key not in _NO_SCORES
    )
    return "score" if "score" in keys else next(iter(keys), None)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A centered mean over a twentieth of the points, shorter at both ends; ignores values that are not finite."""
    reach = max(1, len(values) // 40)
    finite = np.isfinite(values)
    kernel = np.ones(2 * reach + 1)
    sums = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    counts = np.convolve(finite.astype(float), kernel, "same")
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _draw_losses(axis: Axes, series: dict[str, tuple[np.ndarray, np.ndarray]], stage: str) -> None:
    everything = np.concatenate([values for _, values in series.values()])
    scale_axis(axis, everything)
    spare, colors, labels = iter((ORANGE, SKY)), {}, []
    for name, (steps, values) in series.items():
        evaluated, _, trained = name.rpartition(" ")
        color = colors.setdefault(trained, LOSS_COLORS.get(trained) or next(spare, "#777777"))
        style = {"color": color, "linestyle": "--" if evaluated else "-", "zorder": 3 if name == "loss" else 2}
        width = 1.9 if name == "loss" else 1.4
        shown = values
        if len(values) >= _SMOOTHED_FROM and not evaluated:
            axis.plot(steps, values, linewidth=0.6, alpha=0.28, **style)
            shown = _smoothed(values)
        last = shown[np.isfinite(shown)][-1:]
        label = f"{name.removesuffix('_loss')}  {last[0]:.3g}" if len(last) else f"{name}  not finite"
        marker = "o" if len(values) < 12 else None
        axis.plot(steps, shown, linewidth=width, marker=marker, markersize=3.5, **style)
        labels.append((last[0] if len(last) else np.nan, label, color))
    finish_axis(axis, f"{stage.replace('_', ' ')}: loss")
    if not np.all(np.isfinite(everything)):
        axis.text(0.03, 0.04, "has values that are not finite", transform=axis.transAxes, color=VERMILLION, fontsize=8)
    label_ends(axis, labels)


def _draw_scores(axis: Axes, scores: dict[str, tuple[np.ndarray, np.ndarray]], metric: str, colors) -> None:
    labels = []
    for number, (stage, (steps, values)) in enumerate(scores.items()):
        marker = "osD^vP"[number % 6]  # a marker in addition to the color
        label = f"{stage.replace('_', ' ')}  {values[-1]:.3f}"
        axis.plot(steps, values, color=colors[stage], marker=marker, markersize=4.5, linewidth=1.6)
        labels.append((values[-1], label, colors[stage]))
    finish_axis(axis, f"dev: {metric.replace('_', ' ')}")
    axis.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=[1, 2, 5, 10], min_n_ticks=4))
    axis.margins(y=0.1)
    label_ends(axis, labels)


def as_it_is(text: str) -> str:
    """A shortened name with dollar signs escaped, which Matplotlib would read as a formula."""
    return text[:_LONGEST_NAME].replace("$", r"\$").encode("utf-8", "backslashreplace").decode()


def scale_axis(axis: Axes, values: np.ndarray) -> None:
    """Makes the vertical axis logarithmic where the losses span more than a factor of ten."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
        axis.set_yscale("log")
        marks = (1.0,) if finite.max() > 300 * finite.min() else (1.0, 2.0, 5.0)
        axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=marks))
        axis.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def finish_axis(axis: Axes, title: str) -> None:
    """Formats a panel: title, grid, steps on the horizontal axis."""
    axis.set_title(as_it_is(title), fontsize=10.5, loc="left")
    axis.set_xlabel("step", fontsize=9)
    axis.tick_params(labelsize=8.5)
    axis.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axis.set_axisbelow(True)


def label_ends(axis: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Writes each line's name and last value at its end, in place of a legend.

    Names that would overlap are moved apart; they keep the order of the lines.
    """
    apart = 0.075  # of the axis' height, a line of text
    to_axis = axis.transData + axis.transAxes.inverted()
    axis.autoscale_view()
    ends = [float(to_axis.transform((0, value))[1]) if np.isfinite(value) else 0.0 for value, _, _ in labels]
    order = sorted(range(len(labels)), key=lambda i: ends[i])
    heights = []
    for i in order:
        heights.append(max(ends[i], heights[-1] + apart) if heights else max(ends[i], 0.02))
    for k in reversed(range(len(heights))):  # move labels above the top back down
        heights[k] = min(heights[k], 0.98 - apart * (len(heights) - 1 - k))
    for i, height in zip(order, heights, strict=True):
        _, text, color = labels[i]
        axis.text(1.02, height, as_it_is(text), transform=axis.transAxes, color=color, fontsize=8.5, va="center")
