"""Published methods train by the programs' flags, and what they cannot do is refused before anything trains."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.distill import Distiller
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.settings import compose
from tinybert_tf.train import student
from tinybert_tf.train.distill_general import GeneralSettings
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.settings import PROGRAM_OBJECTIVES, MatchingSettings

pytestmark = pytest.mark.usefixtures("eagerly")

LABELS = {"negative": 0, "positive": 1}
SHORT = {"train_batch_size": 8, "evaluations": 1, "max_steps": 2, "seq_len": 16, "allow_weak_teacher": True}


def settings(glue, teacher, tmp_path, **changes):
    named = {"task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "teacher": str(teacher)}
    return compose(DistillSettings, **named | SHORT | {"student": "2x12x2x24", "init": "random"} | changes)


@pytest.mark.parametrize(
    "name",
    ["minilmv2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("theseus", "pkd", "distilbert"))],
)
def test_a_method_is_a_flag(name, glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    changes = {"objective": name, "stage": "both" if name == "minilmv2" else "prediction"}
    if name == "theseus":
        changes["student"] = "2x16x2x32"
    result = distill_task(settings(glue, teacher, tmp_path, **changes))
    assert 0 <= result["score"] <= 1 and result["steps"] == (4 if name == "minilmv2" else 2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "states"), [("pkd", [1]), ("distilbert", [2])])
def test_states_of_a_student_made_from_its_teacher_are_projected_as_it_was_made(
    name, states, glue, make_directory, tmp_path, monkeypatch
):
    """From random projections BERT-PKD's loss, weighted with 100, destroys what the student had from its teacher."""
    made, begun = [], []
    initialize, begin = student.initialize_student, Distiller.__init__

    def initialized(*args, **kwargs):
        made.extend(initialize(*args, **kwargs))
        return made

    def began(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        begun.extend(layer.get_weights()[0] for layer in self.projections.values())

    monkeypatch.setattr(student, "initialize_student", initialized)
    monkeypatch.setattr(Distiller, "__init__", began)
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    distill_task(settings(glue, teacher, tmp_path, objective=name, stage="prediction", init="auto"))
    assert len(begun) == len(states)
    for kernel, state in zip(begun, states, strict=True):
        np.testing.assert_array_equal(kernel, made[state][0])


@pytest.mark.slow
def test_a_chain_leads_from_a_teacher_of_16_heads_through_an_assistant_of_12(glue, make_directory, tmp_path):
    sizes = {"hidden_size": 32, "num_attention_heads": 16, "intermediate_size": 40}
    teacher = make_directory("teacher", "classification", label2id=LABELS, **sizes)
    common = {"student": "3x24x12x32", "init": "auto"}
    first = {"objective": "minilmv2", "stage": "both", "output_dir": str(tmp_path / "assistant")}
    assistant = distill_task(settings(glue, teacher, tmp_path, **common | first))
    rows = [json.loads(line) for line in (tmp_path / "assistant" / "metrics.jsonl").read_text().splitlines()]
    assert any({"query_loss", "key_loss", "value_loss"} <= row.keys() for row in rows)
    student = distill_task(settings(glue, assistant["model"], tmp_path, student="2x12x12x24", init="auto"))
    config = load_model(student["model"]).config
    assert (config.num_attention_heads, config.hidden_size, student["steps"]) == (12, 12, 4)
    with pytest.raises(InputError, match="has 12 attention heads and the teacher 16"):
        distill_task(settings(glue, teacher, tmp_path, output_dir=str(tmp_path / "plain"), **common))


@pytest.mark.slow
def test_a_bilstm_learns_logits_and_is_scored_and_exported_as_a_directory(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    changes = {"objective": "bilstm_soft", "stage": "prediction", "student": "bilstm", "init": "auto"}
    result = distill_task(settings(glue, teacher, tmp_path, **changes))
    scored = evaluate_model(
        compose(EvaluateSettings, task="sst2", data_dir=str(glue), model_dir=result["model"], seq_len=16)
    )
    assert scored["score"] == pytest.approx(result["score"])
    card = (Path(result["model"]) / "README.md").read_text()
    assert "A BiLSTM with" in card and "transformers" not in card
    again = settings(
        glue, teacher, tmp_path, **changes | {"student": result["model"], "output_dir": str(tmp_path / "two")}
    )
    assert distill_task(again)["steps"] == 2
    with pytest.raises(InputError, match="teacher=.*: is a BiLSTM.*teacher_logits"):
        distill_task(settings(glue, result["model"], tmp_path, output_dir=str(tmp_path / "four")))
    again = settings(glue, teacher, tmp_path, student=result["model"], output_dir=str(tmp_path / "three"))
    with pytest.raises(InputError, match="stage=both: compares layers, which a BiLSTM does not have"):
        distill_task(again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "minilm"}, "objective=minilm: reads layers, which `student=bilstm` does not have"),
        ({"objective": "pkd", "stage": "prediction"}, "objective=pkd: reads layers"),
        ({}, "stage=both: compares layers, which `student=bilstm` does not have"),
        ({"stage": "prediction", "quantize_aware": "int8"}, "quantize_aware=int8: is for a BERT"),
    ],
)
def test_a_bilstm_has_no_layers_to_compare(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        settings("glue", "teacher", tmp_path, **{"student": "bilstm"} | changes)


def test_a_method_without_layers_has_no_intermediate_stage(tmp_path):
    with pytest.raises(InputError, match="objective=pkd: compares no layers.*`stage=prediction`"):
        settings("glue", "teacher", tmp_path, objective="pkd")
    with pytest.raises(InputError, match="objective=vanilla_kd: compares no layers, and there are no labels"):
        compose(GeneralSettings, corpus="c", output_dir="o", teacher="t", objective="vanilla_kd")
    with pytest.raises(InputError, match="layer_map=learned: is found on a task"):
        compose(GeneralSettings, corpus="c", output_dir="o", teacher="t", layer_map="learned")
    with pytest.raises(InputError, match="objective=albert: must be"):
        MatchingSettings(objective="albert")


def test_weights_of_terms_multiply_their_scales():
    matching = MatchingSettings(attention_weight=0.5, hidden_weight=0.0)
    objective = matching.layer_objective({"attention_weight": [2.0, 4.0], "embedding_weight": 3.0})
    assert (list(objective.attention_weight), objective.hidden_weight, objective.embedding_weight) == (
        [1.0, 2.0],
        0.0,
        3.0,
    )


def test_a_layer_map_is_that_of_every_method_that_maps_layers():
    assert MatchingSettings(objective="mobilebert", layer_map="top").layer_objective({}).layers == "top"


def test_a_method_with_losses_of_its_own_learns_from_them_in_every_recipe():
    learned = settings("glue", "teacher", Path("runs"), objective="pkd", stage="prediction", recipe="published")
    assert not learned.learns_labels("regression")
    assert settings("glue", "teacher", Path("runs"), recipe="published").learns_labels("regression")


def test_every_name_has_an_objective():
    for name in set(PROGRAM_OBJECTIVES) - {"theseus"}:
        matching = MatchingSettings(objective=name)
        assert matching.layer_objective({}) if matching.compares_layers else matching.prediction_objective(1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"objective": "minilmv2", "hidden_weight": 2.0},
            "hidden_weight=2.0: is of `objective=tinybert`; minilmv2 does not",
        ),
        ({"objective": "mobilebert", "loss_scale": "relative"}, "loss_scale=relative: is of `objective=tinybert`"),
        ({"objective": "minilm", "padding": "reference"}, "padding=reference: is of `objective=tinybert`"),
        (
            {"objective": "theseus", "stage": "prediction", "prediction_target": "teacher"},
            "prediction_target=teacher: is for a prediction stage that follows",
        ),
        (
            {"objective": "vanilla_kd", "stage": "prediction", "temperature": 4.0},
            "temperature=4.0: `objective=vanilla_kd` has its",
        ),
        (
            {"teacher_logits": "l.npy", "teacher": "", "stage": "prediction", "layer_map": "search"},
            "layer_map=search: is chosen",
        ),
        (
            {"teacher_logits": "l.npy", "teacher": "", "stage": "prediction", "prune_to": "2x8x2x16"},
            "prune_to=2x8x2x16: keeps",
        ),
        ({"prune_rounds": 4}, "prune_rounds=4: are of a student that is pruned; give `prune_to`"),
        ({"teacher_weights": "1,2"}, "teacher_weights=1,2: are of several teachers"),
        ({"teacher": "a,b", "prediction_target": "label"}, "teacher=a,b: gives logits, and `prediction_target=label`"),
        (
            {"teacher_logits": "l.npy", "teacher": "", "stage": "prediction", "prediction_target": "label"},
            "teacher_logits=l.npy: gives logits, and",
        ),
        (
            {"teacher_logits": "l.npy", "teacher": "", "stage": "prediction", "teacher_weights": "1"},
            "teacher_weights=1: are of several teachers",
        ),
        (
            {"stage": "intermediate", "prediction_target": "label"},
            "prediction_target=label: is of the prediction stage",
        ),
        ({"prediction_target": "label", "temperature": 2.0}, "temperature=2.0: is of logits, and"),
        ({"stage": "intermediate", "temperature": 2.0}, "temperature=2.0: is of the prediction stage"),
        ({"prune_to": "2x8x2x16", "prune_rounds": 2, "max_steps": 3}, "max_steps=3: ends each stage, and with"),
        ({"stage": "prediction", "layer_map": "learned"}, "layer_map=learned: is of the intermediate stage"),
        ({"stage": "prediction", "loss_scale": "relative"}, "loss_scale=relative: is of the intermediate stage"),
        ({"stage": "prediction", "layer_map": "search", "student": "minilm_l6"}, "layer_map=search: makes the student"),
        (
            {"layer_map": "learned", "intermediate_learning_rate": 0.0},
            "intermediate_learning_rate=0.0: must be above 0",
        ),
        ({"prediction_learning_rate": -1.0}, "prediction_learning_rate=-1.0: must be a finite number from 0 on"),
        ({"prediction_learning_rate": float("nan")}, "prediction_learning_rate=nan: must be a finite"),
        ({"prediction_epochs": float("inf")}, "prediction_epochs=inf: must be finite"),
        ({"student_family": "mpnt"}, "student_family=mpnt: must be auto or bert"),
        (
            {"objective": "theseus", "stage": "prediction", "teacher_dtype": "bfloat16"},
            "teacher_dtype=bfloat16: would round the weights",
        ),
    ],
)
def test_a_setting_that_would_be_dropped_is_refused(glue, tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        settings(
            glue, changes.get("teacher", "teacher"), tmp_path, **{k: v for k, v in changes.items() if k != "teacher"}
        )


def test_a_temperature_without_a_softmax_is_refused():
    made = compose(DistillSettings, task="sst2", teacher="t", output_dir="out", temperature=2.0)
    made.check_temperature("classification")
    with pytest.raises(InputError, match=r"temperature=2\.0: divides the logits of a softmax"):
        made.check_temperature("regression")
