"""Exports a model in every quantization mode, scores each on the model's task, and keeps the best within the limits."""

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.export.convert import ExportReport, check_output, checked_lengths, export_tflite
from tinybert_tf.export.examples import Texts, task_texts
from tinybert_tf.export.latency import benchmark
from tinybert_tf.export.parity import task_comparison
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.export.writer.delegation import delegation
from tinybert_tf.export.writer.quantization import QUANTIZE_MODES
from tinybert_tf.files import atomic_write

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file must keep.

    Attributes:
        max_drop: the largest loss of the task's score, 0 to 1.
        max_mb: the largest size, in millions of bytes.
        max_ms: the largest median time for one text of full length on one thread of this machine.
    """

    max_drop: float = 0.01
    max_mb: float | None = None
    max_ms: float | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """The result of one mode.

    Attributes:
        quantize: the mode.
        mb, median_ms: size, and time on one thread at the longest length.
        score, drop, max_logit_error: on the task's dev set, see `ParityReport`.
        delegated: "operators that XNNPACK takes/all operators".
        fails: the limits that are exceeded, "" if none is.
        chosen: whether this file was kept.
    """

    quantize: str
    mb: float
    median_ms: float
    score: float
    drop: float
    max_logit_error: float
    delegated: str
    fails: str
    chosen: bool = False


def export_best(
    model_dir: str | Path,
    output: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    *,
    files: CustomFiles | None = None,
    limits: Limits = Limits(),
    seq_len: int | Sequence[int] = 128,
    modes: Sequence[str] = tuple(QUANTIZE_MODES),
    calibration_texts: Texts | None = None,
) -> tuple[ExportReport | None, list[Trial]]:
    """Exports a model in every mode, scores each on the task's dev set, and keeps one.

    Of the files within the limits the smallest is kept; if a size or a time is limited, the one whose logits are nearest to
    the model's.

    Args:
        model_dir, output, seq_len: as for `export_tflite`.
        task, data_dir, files: as for `load_task`.
        limits: that the file must keep.
        modes: those of `QUANTIZE_MODES` to try.
        calibration_texts: as for `export_tflite`; absent: texts of the task's training set.

    Returns:
        the report of the file that was written, None if no mode is within the limits and nothing is written; and the trials.

    Raises:
        InputError: an output that is no .tflite file, and what `export_tflite` and `task_comparison` raise.
    """
    check_output(Path(output))  # before minutes of trials
    longest = max(checked_lengths(seq_len))
    texts = calibration_texts
    if texts is None and any(QUANTIZE_MODES[mode].integer_weights for mode in modes):
        texts = task_texts(task, data_dir, files)
    comparison = task_comparison(model_dir, task, data_dir, files=files, seq_len=longest)
    with tempfile.TemporaryDirectory() as folder:
        reports, trials = {}, []
        for mode in modes:
            path = Path(folder) / f"{mode}.tflite"
            reports[mode] = export_tflite(model_dir, path, seq_len=seq_len, quantize=mode, calibration_texts=texts)
            parity = comparison(TFLiteModel(path))
            logger.info("%s: %.1f MB, score %.4f", mode, reports[mode].mb, parity.tflite_score)
            trials.append((mode, parity, delegation(path)))
        times = benchmark([reports[mode].path for mode in modes], lengths=[longest])
        rows = [
            _trial(reports[mode], time.median_ms, parity, f"{nodes.delegated}/{nodes.nodes}", limits)
            for (mode, parity, nodes), time in zip(trials, times, strict=True)
        ]
        best = _best(rows, limits)
        if best is None:
            return None, rows
        with atomic_write(Path(output)) as aside:
            shutil.copyfile(reports[best.quantize].path, aside)
    rows = [dataclasses.replace(row, chosen=row is best) for row in rows]
    return dataclasses.replace(reports[best.quantize], path=str(output)), rows


def exceeds(found: float, limit: float) -> bool:
    """Whether a number is above its limit by more than rounding: 0.90 - 0.89 is above 0.01 by 9e-18."""
    return not found <= limit + 1e-9


def _trial(report: ExportReport, median_ms: float, parity, delegated: str, limits: Limits) -> Trial:
    found = {"max_drop": parity.drop, "max_mb": report.mb, "max_ms": median_ms}
    fails = [
        name for name, limit in dataclasses.asdict(limits).items() if limit is not None and exceeds(found[name], limit)
    ]
    return Trial(
        quantize=report.quantize,
        mb=report.mb,
        median_ms=median_ms,
        score=parity.tflite_score,
        drop=parity.drop,
        max_logit_error=parity.max_logit_error,
        delegated=delegated,
        fails=", ".join(fails),
    )


def _best(trials: Sequence[Trial], limits: Limits) -> Trial | None:
    holding = [trial for trial in trials if not trial.fails]
    has_goal = limits.max_mb is not None or limits.max_ms is not None
    return min(holding, key=lambda trial: trial.max_logit_error if has_goal else trial.mb, default=None)
