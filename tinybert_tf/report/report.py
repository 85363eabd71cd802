"""A report from run directories: settings and results from run.json, curves from metrics.jsonl."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json
from tinybert_tf.report.page import MODEL_COLUMNS, ReportFiles, write_report
from tinybert_tf.settings import UNUSED_SEED, setting

# The numbers of a result that a report shows.
_MEASURED = {column.key for column in MODEL_COLUMNS} - {"model", "task"}


@dataclasses.dataclass
class ReportSettings:
    """Settings of bin/report.py."""

    runs: str = setting("", "Run directories, with commas between them.", required=True)
    output_dir: str = setting("", "Where report.html, report.md and results.csv go.", required=True)
    live: str = setting("", "A .tflite file to try in report.html, which then holds it (needs `make web`).")
    seed: int = setting(0, UNUSED_SEED)


def report_runs(run_dirs: Sequence[str | Path], output_dir: str | Path, live: str | Path | None = None) -> ReportFiles:
    """One report of one run or several, in the order given.

    Args:
        run_dirs: a directory of run directories, such as the quickstart writes, is replaced by all of them.
        output_dir: for the report.
        live: a .tflite file that the HTML page holds and runs on typed texts.

    Raises:
        InputError: no run directory, one whose files cannot be read, or a `live` that cannot be used.
    """
    folders = [run for folder in run_dirs for run in _runs_in(Path(folder))]
    if not folders:
        raise InputError("names no run directory", "runs")
    models, curves, settings = [], {}, {}
    for folder, name in zip(folders, _names(folders), strict=True):
        run = _read_run(folder)
        if (row := _row(run["result"], name)) is not None:
            models.append(row)
        if (folder / "metrics.jsonl").is_file():
            curves[name] = folder / "metrics.jsonl"
        settings[name] = {key: value for key, value in run.items() if key != "result"}
    title = f"Run {next(iter(settings))}" if len(folders) == 1 else f"{len(folders)} runs"
    shown = settings if len(folders) > 1 else settings.popitem()[1]
    return write_report(output_dir, title, models, curves, [], shown, live=live)


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    inside = sorted(file.parent for file in folder.glob("*/run.json"))
    if not inside:
        raise InputError(f"{folder}: has no run.json; `runs` takes the `output_dir` of programs that train")
    return inside


def _read_run(folder: Path) -> dict[str, Any]:
    run = read_json(folder / "run.json")
    if not isinstance(run, dict) or not isinstance(run.get("result", {}), dict):
        raise InputError(f'{folder / "run.json"}: expected an object with an object "result"; train again to write it')
    result = run.setdefault("result", {})
    for name in _MEASURED:
        value = result.get(name)
        if value is not None and (type(value) not in (int, float) or not abs(value) <= sys.float_info.max):
            raise InputError(f'{folder / "run.json"}: "{name}" of the result is no number; train again to write it')
    if not isinstance(result.get("task", ""), str):
        raise InputError(f'{folder / "run.json"}: "task" of the result is no text; train again to write it')
    return run


def _row(result: dict[str, Any], name: str) -> dict[str, Any] | None:
    """A run's row of the table; None for a run without a result."""
    known = {column.key for column in MODEL_COLUMNS} - {"model"}
    row = {key: value for key, value in result.items() if key in known}
    return {"model": name, **row} if row else None


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or the given paths where two names are equal."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(f"names {max(names, key=names.count)} twice", "runs")
    return names
