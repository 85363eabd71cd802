"""A layer map is searched on dev under a budget, or learned, and written to run.json."""

import functools
import json

import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import distill_task as module
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.map_search import candidates, rounds, searched_map

pytestmark = pytest.mark.usefixtures("eagerly")

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

    def score(layers, count):
        steps.append(count)
        return -sum(abs(a - b) for a, b in zip(layers, known, strict=True))

    tried = searched_map(settings(tmp_path, search_steps=1000), 4, 12, score)
    everything = candidates(4, 12, 16)
    assert tuple(tried[0]["layers"]) == min(
        everything, key=lambda m: sum(abs(a - b) for a, b in zip(m, known, strict=True))
    )
    assert len(tried) == 16 and sum(steps) <= 1000


def test_an_interrupted_search_resumes_with_the_trial_that_it_was_in(tmp_path):
    searching, tried = settings(tmp_path, search_steps=100), []

    def score(layers, steps, fail_at=None):
        if len(tried) == fail_at:
            raise KeyboardInterrupt
        tried.append((layers, steps))
        return sum(layers) / steps

    whole = searched_map(settings(tmp_path / "other", search_steps=100), 2, 6, score)
    expected, tried[:] = list(tried), []
    with pytest.raises(KeyboardInterrupt):
        searched_map(searching, 2, 6, functools.partial(score, fail_at=5))
    assert searched_map(searching, 2, 6, score) == whole and tried == expected
    changed = settings(tmp_path, search_steps=100, seed=1)
    assert searched_map(changed, 2, 6, score) and len(tried) > len(expected), "other settings: other trials"


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("changes", [{}, {"prediction_target": "label"}, {"stage": "prediction"}])
def test_a_trial_is_a_short_run_with_its_map(glue, make_directory, tmp_path, monkeypatch, changes):
    """The trials share networks and compiled steps: each still ends with the weights of a run of its own."""
    maps, found = [(1, 4), (2, 3), (1, 4)], []
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    teacher = make_directory("teacher", label2id=LABELS, **no_dropout)
    common = {"init": "auto", "max_steps": 3} | changes
    of_run = lambda name, **more: settings(tmp_path / name, glue, teacher, **(common | more))

    def trials(searching, student_layers, teacher_layers, score):
        for layers in maps:
            score(layers, 3 if searching.stage == "prediction" else 6)
            found.append(score.__self__.trainer.model.get_weights())
        return [{"layers": [1, 4]}]

    monkeypatch.setattr(module, "searched_map", trials)
    result = distill_task(of_run("search", layer_map="search"))
    assert result["layer_map"] == [1, 4]
    for layers, weights in zip(maps[:2], found[:2], strict=True):
        named = ",".join(map(str, layers))
        distill_task(of_run(named, layer_map=named))
        expected = tb.load_model(tmp_path / named / "run" / "last").get_weights()
        for got, wanted in zip(weights, expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5)
    for first, again in zip(found[0], found[2], strict=True):
        np.testing.assert_array_equal(first, again)
    for got, wanted in zip(tb.load_model(result["model"]).get_weights(), found[0], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.slow
def test_a_search_trains_with_the_map_that_it_found(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", label2id=LABELS)
    searching = settings(tmp_path, glue, teacher, layer_map="search", search_steps=8, stage="prediction")
    result = distill_task(searching)
    resolved = json.loads((tmp_path / "run" / "run.json").read_text())["resolved"]
    assert resolved["layer_map"] == result["layer_map"] == resolved["searched_maps"][0]["layers"]
    assert len(result["layer_map"]) == 2 and result["steps"] == 2
    assert not (tmp_path / "run" / "search").exists(), "students that were made for the trials"
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
        ({"layer_map": "search", "loss_scale": "relative"}, "loss_scale=relative: is measured for one map"),
        ({"layer_map": "search", "prune_to": "2x8x2x16"}, "prune_to=2x8x2x16: keeps the map of the layers that remain"),
        ({"layer_map": "best"}, "layer_map=best: must be uniform, top, bottom, learned, search, or teacher layers"),
    ],
)
def test_what_has_no_map_to_find_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        distill_task(settings(tmp_path, **changes))


def test_a_trial_learns_the_teachers_answers_to_its_own_rows(make_directory, tmp_path, monkeypatch):
    """Scores are learned on the task's own rows alone, which have other numbers than the augmented ones."""
    for folder, rows in (("glue", 8), ("more", 16)):
        (tmp_path / folder / "STS-B").mkdir(parents=True)
        texts = [f"{'the film was ' * (1 + n % 3)}{'good' if n % 2 else 'bad'}\tnot bad\t{n % 6}" for n in range(rows)]
        lines = "\n".join(["sentence1\tsentence2\tscore", *(texts if folder == "glue" else reversed(texts))]) + "\n"
        for split in ("train", "dev"):
            (tmp_path / folder / "STS-B" / f"{split}.tsv").write_text(lines)
    teacher = make_directory("teacher", head="regression", label2id=None)
    seen = []

    def trials(searching, student_layers, teacher_layers, score):
        stage = score.__self__.stages["prediction"]
        compiled = score.__self__._compile("prediction", stage, 2)
        seen.extend(features for features, *_ in compiled.batches())
        return [{"layers": [1, 4]}]

    monkeypatch.setattr(module, "searched_map", trials)
    distill_task(
        settings(tmp_path, tmp_path / "glue", teacher, task="stsb", layer_map="search", train_batch_size=4,
                 augmented_data_dir=str(tmp_path / "more"), teacher_dtype="float32")
    )  # fmt: skip
    network = tb.load_model(teacher)
    assert len(seen) == 2
    for features in seen:
        given = features.pop("teacher/logits")
        np.testing.assert_allclose(given, network(features)["logits"], atol=1e-5)
