"""Attention maps of teacher and student for one sentence, layer by layer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from tinybert_tf.files import atomic_write
from tinybert_tf.report.curves import as_it_is


def plot_attention(
    teacher_probs: Sequence[np.ndarray],
    student_probs: Sequence[np.ndarray],
    tokens: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    path: str | Path,
) -> Path:
    """Draws the teacher's attention over the student's, a column for each mapped layer, into a PNG.

    A map has the attending tokens on its rows and the attended ones on its columns. All maps share one color scale with a
    square root: a few tokens ([SEP] above all) draw most attention and would hide the rest. Each student layer is labeled
    with Pearson's r between its map and the teacher's.

    Args:
        teacher_probs: for each mapped layer, `[heads, seq, seq]` after softmax.
        student_probs: the same of the student; its number of heads may differ.
        tokens: the sentence; positions behind its end (padding) are left out.
        pairs: for each mapped layer, (student layer, teacher layer), counted from 1.
        path: where the PNG goes.
    """
    if not len(teacher_probs) == len(student_probs) == len(pairs) or not pairs:
        raise ValueError(
            f"one map for each pair of layers: {len(teacher_probs)} of the teacher, {len(student_probs)} of the "
            f"student and {len(pairs)} pairs were given"
        )
    teacher = [_checked(probs, "teacher", len(tokens)) for probs in teacher_probs]
    student = [_checked(probs, "student", len(tokens)) for probs in student_probs]
    rows = [("teacher", [probs.mean(0) for probs in teacher]), ("student", [probs.mean(0) for probs in student])]
    names = ["teacher, mean of heads", "student, mean of heads"]

    side = min(3.6, max(2.1, 0.16 * len(tokens)))
    figure = Figure(figsize=(side * len(pairs) + 1.7, side * len(rows) + 1.3), dpi=130, layout="constrained")
    axes = figure.subplots(len(rows), len(pairs), squeeze=False, sharex=True, sharey=True)
    # One scale for all maps. The 99.5th percentile: a single 1.0 must not wash out all other cells.
    top = float(np.percentile(np.concatenate([layer.ravel() for _, maps in rows for layer in maps]), 99.5))
    scale = PowerNorm(0.5, vmin=0.0, vmax=max(top, 1e-6))
    shown = [as_it_is(token) for token in tokens]
    size = float(np.clip(side * 72 / len(tokens) * 0.75, 4.0, 8.5))
    for row, (who, maps) in enumerate(rows):
        for column, layer in enumerate(maps):
            axis = axes[row, column]
            image = axis.imshow(layer, cmap="Blues", norm=scale, interpolation="nearest")
            axis.set_xticks(range(len(tokens)), shown, rotation=90, fontsize=size)
            axis.set_yticks(range(len(tokens)), shown, fontsize=size)
            axis.tick_params(length=0, pad=2)
            axis.spines[:].set_color("#bbbbbb")
            number = pairs[column][0 if who == "student" else 1]
            title = f"layer {number}"
            if who == "student":
                title += f"    r = {_correlation(rows[row - 1][1][column], layer):.2f}"
            axis.set_title(title, fontsize=9, loc="left", pad=3)
        axes[row, 0].set_ylabel(names[row], fontsize=10, fontweight="bold", labelpad=8)
    bar = figure.colorbar(image, ax=axes, location="right", shrink=0.6, aspect=30, pad=0.01, extend="max")
    bar.set_label("attention of the row's token to the column's", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png", facecolor="white")
    return Path(path)


def _checked(probs: np.ndarray, whose: str, length: int) -> np.ndarray:
    """`[heads, length, length]`, padding cut off."""
    probs = np.asarray(probs, dtype=np.float32)
    if probs.ndim != 3 or probs.shape[1] != probs.shape[2] or probs.shape[1] < length or not length:
        raise ValueError(f"{whose}: attention of shape {probs.shape} for {length} tokens; [heads, seq, seq] is needed")
    if probs.min() < 0 or probs.max() > 1.001:
        raise ValueError(
            f"{whose}: attention from {probs.min():.3g} to {probs.max():.3g} is not a probability; apply the softmax first"
        )
    return probs[:, :length, :length]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
