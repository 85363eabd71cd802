"""A search for a layer map on dev, under a budget of steps: successive halving (Jamieson and Talwalkar 2016, section 3).

Many maps train for a few steps; the better half trains for twice as many, until one is left.
"""

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.distill.layer_map import KINDS, layer_map
from tinybert_tf.distribution import is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, write_json
from tinybert_tf.settings import flat_values
from tinybert_tf.train.inputs import input_states
from tinybert_tf.train.run import IGNORED_SETTINGS

logger = logging.getLogger(__name__)

# Fewer steps tell nothing of a map.
_FEWEST_STEPS = 4
_MOST_MAPS = 16


def candidates(student_layers: int, teacher_layers: int, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Rising maps: the named ones, then random ones.

    >>> candidates(2, 3, 10)[:3]
    [(2, 3), (1, 2), (1, 3)]

    Args:
        student_layers: M.
        teacher_layers: N.
        count: the most maps.
        seed: of the random ones.
    """
    found = dict.fromkeys(layer_map(kind, student_layers, teacher_layers) for kind in KINDS)
    generator = random.Random(seed)
    for _ in range(100 * count):
        if len(found) >= count:
            break
        found[tuple(sorted(generator.sample(range(1, teacher_layers + 1), student_layers)))] = None
    return list(found)[:count]


def rounds(budget: int) -> list[tuple[int, int]]:
    """(maps, steps of each) of every round; each round costs the same share of the budget.

    >>> rounds(800)
    [(16, 12), (8, 25), (4, 50), (2, 100)]

    Raises:
        InputError: a budget that is too small for two maps.
    """
    maps = _MOST_MAPS
    while maps > 2 and budget // (maps * (maps.bit_length() - 1)) < _FEWEST_STEPS:
        maps //= 2
    count = maps.bit_length() - 1
    found = [(maps >> number, budget // count // (maps >> number)) for number in range(count)]
    if found[0][1] < _FEWEST_STEPS:
        raise InputError(f"must be at least {2 * _FEWEST_STEPS}", "search_steps", budget)
    return found


def searched_map(
    settings: Any, student_layers: int, teacher_layers: int, score: Callable[[tuple[int, ...], int], float]
) -> list[dict[str, Any]]:
    """The maps that were tried, the best of the last round first: `layers`, `score` and `steps` of each.

    Every trial is kept in `search.json`; a search that was interrupted resumes with the trial that it was in.

    Args:
        settings: of task distillation, with `search_steps`.
        student_layers: M.
        teacher_layers: N.
        score: the dev score of a map after a number of steps, such as `MapTrials.score`.
    """
    record = _Record(Path(settings.run.output_dir) / "search.json", settings)
    plan = rounds(settings.search_steps)
    remaining: Sequence[tuple[int, ...]] = candidates(student_layers, teacher_layers, plan[0][0], settings.run.seed)
    tried = {}
    for number, (count, steps) in enumerate(plan, 1):
        for place, layers in enumerate(remaining, 1):
            found = record.find(layers, steps)
            if found is None:
                found = {"layers": list(layers), "score": score(layers, steps), "steps": steps}
                record.add(found)
                where = f"round {number}/{len(plan)}  map {place}/{len(remaining)}"
                logger.info("layer map search  %s  %s  %.4f", where, ",".join(map(str, layers)), found["score"])
            tried[layers] = found
        remaining = sorted(remaining, key=lambda layers: -tried[layers]["score"])[: max(1, count // 2)]
    best_first = lambda entry: (entry["layers"] != list(remaining[0]), -entry["steps"], -entry["score"])
    return sorted(tried.values(), key=best_first)


class _Record:
    """The trials of a search in a file; those of other settings or files are not read."""

    def __init__(self, path: Path, settings: Any):
        self.path = path
        self.settings = {name: value for name, value in flat_values(settings).items() if name not in IGNORED_SETTINGS}
        earlier = read_json_object(path) if path.is_file() else {}
        then = {name: value for name, value in earlier.get("settings", {}).items() if name not in IGNORED_SETTINGS}
        self.inputs = input_states(settings)
        is_same = then == self.settings and earlier.get("inputs") == self.inputs
        self.trials = earlier.get("trials", []) if is_same else []

    def find(self, layers: tuple[int, ...], steps: int) -> dict[str, Any] | None:
        return next((t for t in self.trials if t["layers"] == list(layers) and t["steps"] == steps), None)

    def add(self, trial: dict[str, Any]) -> None:
        self.trials.append(trial)
        if is_chief():
            write_json(self.path, {"settings": self.settings, "inputs": self.inputs, "trials": self.trials})
