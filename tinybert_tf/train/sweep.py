"""A grid of runs, compared on dev: which batch size and learning rate suit a task."""

import csv
import dataclasses
import itertools
import logging
import math
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import keras

from tinybert_tf.distribution import distributed, is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, read_json_object, remove, write_json
from tinybert_tf.settings import flat_values, nested, replace, setting
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """A distillation whose batch size, learning rate of the prediction stage and seed are lists."""

    distill: DistillSettings = nested(DistillSettings, stage="prediction")
    batch_sizes: str = setting("16,32", "values of train_batch_size")
    learning_rates: str = setting("1e-5,2e-5,3e-5", "values of prediction_learning_rate")
    seeds: str = setting("0", "values of seed; cells are ranked by their mean over seeds")

    def grid(self) -> list[tuple[int, float, int]]:
        """(batch size, learning rate, seed) of each run."""
        axes = (
            _numbers(self.batch_sizes, int, "batch_sizes"),
            _numbers(self.learning_rates, float, "learning_rates"),
            _numbers(self.seeds, int, "seeds"),
        )
        return list(itertools.product(*axes))

    def cell(self, batch_size: int, learning_rate: float, seed: int) -> DistillSettings:
        """The settings of one run, whose directory is named after its point in the grid."""
        name = f"batch{batch_size}_lr{learning_rate:g}_seed{seed}"
        return replace(
            self.distill,
            train_batch_size=batch_size,
            prediction_learning_rate=learning_rate,
            seed=seed,
            output_dir=str(Path(self.distill.run.output_dir) / name),
            # The cells read the same examples, and mostly the same teacher.
            cache_dir=self.distill.examples.cache_dir or str(Path(self.distill.run.output_dir) / "cache"),
        )


@dataclasses.dataclass(frozen=True)
class Cell:
    """One batch size and learning rate over all seeds; `scores` are the main metric on dev."""

    batch_size: int
    learning_rate: float
    scores: tuple[float, ...]
    best_run: Path

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample; 0 for a single seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0


def sweep(settings: SweepSettings) -> dict:
    """Runs the grid, skipping runs that are finished; keeps the best model in `model/`; the result of `bin/sweep.py`.

    Runs are picked by the task's main metric on dev: the cell of the highest mean over seeds, in it the best seed. Writes
    `sweep.csv` and `sweep.md`, a row for each cell with mean and deviation.
    """
    distill = settings.distill
    if distill.run.dry_run:
        raise InputError("a sweep has none; try one cell with bin/distill_task.py", "dry_run", True)
    if distill.stage == "intermediate":
        raise InputError(
            "a sweep varies the prediction stage; set `stage=both` or `prediction`", "stage", distill.stage
        )
    task = distill.data.load().task
    root, metric = Path(distill.run.output_dir), task.main_metric
    _check_output(root)
    runs = {
        point: settings.cell(*point) for point in settings.grid()
    }  # all, so that a bad one is refused before any trains
    results = {}
    for number, (point, cell) in enumerate(runs.items(), 1):
        logger.info("[%d/%d] %s", number, len(runs), Path(cell.run.output_dir).name)
        results[point] = distill_task(cell)
        keras.backend.clear_session()
    cells = _cells(settings, results)
    best = cells[0]
    result = {
        "task": task.name,
        "score": max(best.scores),
        "metrics": {metric: max(best.scores), "mean": best.mean, "deviation": best.deviation},
        "train_batch_size": best.batch_size,
        "prediction_learning_rate": best.learning_rate,
        "run": str(best.best_run),
        "model": str(root / "model"),
    }
    maps = {Path(settings.cell(*point).run.output_dir): found.get("layer_map") for point, found in results.items()}
    if (layers := maps.get(best.best_run)) is not None:
        result["layer_map"] = layers
    with distributed(distill.run.devices):
        if is_chief():
            _write_tables(cells, metric, root)
            with atomic_write(root / "model") as aside:
                shutil.copytree(best.best_run / "model", aside)
            write_json(root / "run.json", {"settings": flat_values(settings), "result": result})
            remove(root / "cache")
    return result


def _check_output(root: Path) -> None:
    """Raises InputError for the directory of another program's run, whose model and record would be replaced."""
    record = root / "run.json"
    if record.is_file() and "batch_sizes" not in read_json_object(record).get("settings", {}):
        raise InputError(f"{root}: holds a run of another program; name another `output_dir`")


def _cells(settings: SweepSettings, results: dict[tuple[int, float, int], dict]) -> list[Cell]:
    """The grid's cells, best mean first."""
    cells = []
    for batch_size, learning_rate in dict.fromkeys(point[:2] for point in results):
        runs = {point: result["score"] for point, result in results.items() if point[:2] == (batch_size, learning_rate)}
        best = settings.cell(*max(runs, key=runs.get))
        cells.append(Cell(batch_size, learning_rate, tuple(runs.values()), Path(best.run.output_dir)))
    return sorted(cells, key=lambda cell: cell.mean, reverse=True)


def _write_tables(cells: Sequence[Cell], metric: str, root: Path) -> None:
    columns = ("train_batch_size", "prediction_learning_rate", f"mean {metric}", "deviation", "seeds", "best run")
    rows = [
        (cell.batch_size, f"{cell.learning_rate:g}", f"{cell.mean:.4f}", f"{cell.deviation:.4f}", len(cell.scores),
         cell.best_run.name)
        for cell in cells
    ]  # fmt: skip
    with atomic_write(root / "sweep.csv") as aside, aside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    lines = [columns, ["---"] * len(columns), *rows]
    with atomic_write(root / "sweep.md") as aside:
        aside.write_text("".join(f"| {' | '.join(map(str, line))} |\n" for line in lines), encoding="utf-8")


def _numbers(text: str, kind: type, parameter: str) -> list:
    try:
        numbers = [kind(part) for part in str(text).split(",")]
        if not all(0 <= number < math.inf for number in numbers):
            raise ValueError
    except ValueError:
        raise InputError("must be numbers from 0 on, separated by commas", parameter, text) from None
    return list(dict.fromkeys(numbers))
