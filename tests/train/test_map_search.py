"""A layer map is searched on dev under a budget, or learned, and written to run.json."""

import json

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_task import DistillSettings, distill_task
from tinybert_tf.train.map_search import candidates, rounds, searched_map

LABELS = {"negative": 0, "positive": 1}
SHORT = {"train_batch_size": 8, "evaluations": 1, "max_steps": 2, "seq_len": 16, "allow_weak_teacher": True}


def settings(tmp_path, glue="glue", teacher="t", **changes):
    named = {"task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "teacher": str(teacher)}
    return compose(DistillSettings, **named | SHORT | {"student": "2x12x2x24", "init": "random"} | changes)


def test_candidates_rise_and_are_different():
    found = candidates(4, 12, 16)
    assert found[:3] == [(3, 6, 9, 12), (9, 10, 11, 12), (1, 2, 3, 4)] and len(set(found)) == 16
    assert all(list(layers) == sorted(set(layers)) for layers in found)
    assert candidates(4, 4, 16) == [(1, 2, 3, 4)], "there is one"


@pytest.mark.parametrize("budget", [8, 100, 1000, 5000])
def test_rounds_keep_to_their_budget(budget):
    found = rounds(budget)
    assert budget / 2 < sum(maps * steps for maps, steps in found) <= budget
    assert found[-1][0] == 2
    with pytest.raises(InputError, match="search_steps=7: must be at least 8"):
        rounds(7)


def test_the_map_that_scores_best_is_found(tmp_path):
    """Scores say how near a map is to one that is known."""
    known, steps = (2, 5, 6, 11), []

    def distill(trial):
        layers = trial.matching.layers
        steps.append(2 * trial.run.max_steps)
        return {"score": -sum(abs(a - b) for a, b in zip(layers, known, strict=True))}

    tried = searched_map(settings(tmp_path, search_steps=1000), 4, 12, distill)
    everything = candidates(4, 12, 16)
    assert tuple(tried[0]["layers"]) == min(
        everything, key=lambda m: sum(abs(a - b) for a, b in zip(m, known, strict=True))
    )
    assert len(tried) == 16 and sum(steps) <= 1000


@pytest.mark.slow
def test_a_search_trains_with_the_map_that_it_found(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", label2id=LABELS)
    searching = settings(tmp_path, glue, teacher, layer_map="search", search_steps=8, stage="prediction")
    result = distill_task(searching)
    resolved = json.loads((tmp_path / "run" / "run.json").read_text())["resolved"]
    assert resolved["layer_map"] == result["layer_map"] == resolved["searched_maps"][0]["layers"]
    assert len(result["layer_map"]) == 2 and result["steps"] == 2
    assert not (tmp_path / "run" / "search").exists(), "a hundred models would fill a disk"
    assert distill_task(searching) == result


def test_a_learned_map_is_read_out(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", label2id=LABELS)
    result = distill_task(settings(tmp_path, glue, teacher, layer_map="learned", stage="intermediate"))
    resolved = json.loads((tmp_path / "run" / "run.json").read_text())["resolved"]
    assert resolved["layer_map"] == result["layer_map"] and all(1 <= layer <= 4 for layer in result["layer_map"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layer_map": "learned", "objective": "minilm"},
            "layer_map=learned: is for `objective=tinybert`, not for minilm",
        ),
        ({"layer_map": "learned", "loss_scale": "relative"}, "loss_scale=relative: is what `layer_map=learned` does"),
        ({"layer_map": "learned", "padding": "reference"}, "layer_map=learned: leaves padding out"),
        ({"layer_map": "learned", "attention_weight": 0.0, "hidden_weight": 0.0}, "layer_map=learned: needs"),
        ({"layer_map": "search", "stage": "intermediate"}, "layer_map=search: chooses on dev"),
        ({"layer_map": "search", "dry_run": True}, "layer_map=search: has no dry run"),
        ({"layer_map": "best"}, "layer_map=best: must be uniform, top, bottom, learned, search, or teacher layers"),
    ],
)
def test_what_has_no_map_to_find_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        distill_task(settings(tmp_path, **changes))
