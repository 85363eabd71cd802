"""A search for a layer map on dev, under a budget of steps: successive halving (Jamieson and Talwalkar 2016, section 3).

Many maps train for a few steps; the better half trains for twice as many, until one is left.
"""

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from tinybert_tf.distill.layer_map import KINDS, layer_map
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json, remove, write_json
from tinybert_tf.settings import flat_values, replace

logger = logging.getLogger(__name__)

# Fewer steps tell nothing of a map.
_FEWEST_STEPS = 4
_MOST_MAPS = 16
_PLACES = ("output_dir", "cache_dir")


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
    settings: Any, student_layers: int, teacher_layers: int, distill: Callable[[Any], dict]
) -> list[dict[str, Any]]:
    """The maps that were tried, the best of the last round first: `layers`, `score` and `steps` of each.

    They are kept in `search.json`; a search that was interrupted resumes with the trial that it was in.

    Args:
        settings: of task distillation, with `matching.search_steps`; every trial is a run of its own below `search/`.
        student_layers: M.
        teacher_layers: N.
        distill: runs a trial.
    """
    record = Path(settings.run.output_dir) / "search.json"
    described = {name: value for name, value in flat_values(settings).items() if name not in _PLACES}
    if record.is_file() and (earlier := read_json(record))["settings"] == described:
        return earlier["maps"]
    plan = rounds(settings.matching.search_steps)
    remaining: Sequence[tuple[int, ...]] = candidates(student_layers, teacher_layers, plan[0][0], settings.run.seed)
    root, tried = Path(settings.run.output_dir), {}
    stages = 2 if settings.stage == "both" else 1
    cache = settings.examples.cache_dir or str(root / "cache")
    for number, (count, steps) in enumerate(plan, 1):
        for layers in remaining:
            name = ",".join(map(str, layers))
            trial = replace(
                settings,
                layer_map=name,
                max_steps=max(1, steps // stages),
                evaluations=1,
                cache_dir=cache,
                output_dir=str(root / "search" / f"round_{number}" / name.replace(",", "_")),
            )
            keras.backend.clear_session()
            tried[layers] = {"layers": list(layers), "score": distill(trial)["score"], "steps": steps}
            logger.info("layer map %s  %d steps  %.4f", name, steps, tried[layers]["score"])
        remaining = sorted(remaining, key=lambda layers: -tried[layers]["score"])[: max(1, count // 2)]
    best_first = lambda entry: (entry["layers"] != list(remaining[0]), -entry["steps"], -entry["score"])
    found = sorted(tried.values(), key=best_first)
    write_json(record, {"settings": described, "maps": found})
    remove(root / "search")
    return found
