import json

import numpy as np
import pytest
import yaml

from tinybert_tf.checkpoints import load_model, read_projections
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.precision import frozen_dtype


def finetune_settings(glue, model, output, **changes):
    common = {"task": "sst2", "data_dir": str(glue), "train_batch_size": 8, "seq_len": 16}
    return compose(FinetuneSettings, **(common | {"model": str(model), "output_dir": str(output)} | changes))


def distill_settings(glue, teacher, student, output, **changes):
    common = {"task": "sst2", "data_dir": str(glue), "train_batch_size": 8, "seq_len": 16}
    paths = {"teacher": str(teacher), "student": str(student), "output_dir": str(output)}
    lengths = {"intermediate_epochs": 2.0, "prediction_epochs": 4.0, "teacher_dtype": "float32"}
    return compose(DistillSettings, **(common | paths | lengths | changes))


def test_a_teacher_learns_and_what_was_kept_of_its_student_scores_as_was_said(glue, make_directory, tmp_path):
    taught = finetune(finetune_settings(glue, make_directory("m"), tmp_path / "t", epochs=20, learning_rate=3e-3))
    assert taught["score"] == 1.0
    student = make_directory("s", num_hidden_layers=2, hidden_size=8, intermediate_size=16)
    result = distill_task(distill_settings(glue, taught["model"], student, tmp_path / "d", temperature=2.0))
    assert (tmp_path / "d" / "model" / "README.md").read_text().count("distilled from t (dev score 100.0)") == 1
    card = (tmp_path / "t" / "model" / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 1.0}]
    assert "40 examples of sst2 (train.tsv)" in card and "| epochs | `20" in card
    assert str(tmp_path) not in card and "output_dir" not in card
    again = evaluate_model(compose(EvaluateSettings, model_dir=result["model"], task="sst2", data_dir=str(glue)))
    assert (again["score"], again["metrics"]) == (result["score"], result["metrics"])

    run = json.loads((tmp_path / "d" / "run.json").read_text())
    assert run["settings"]["temperature"] == 2.0 and run["result"]["score"] == result["score"]
    lines = [json.loads(line) for line in (tmp_path / "d" / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"intermediate", "prediction"}
    assert {"attention_loss", "hidden_loss", "embedding_loss", "learning_rate", "gradient_norm"} <= set(lines[0])
    assert 0 < lines[0]["learning_rate"] <= 5e-5 and lines[0]["gradient_norm"] > 0
    assert any(line["split"] == "dev" and "accuracy" in line for line in lines)
    for name in ("model", "last", "intermediate"):
        assert load_model(tmp_path / "d" / name).config.num_hidden_layers == 2
    assert len(read_projections(tmp_path / "d" / "intermediate", 3)) == 3
    assert list((tmp_path / "d" / "events").iterdir())


@pytest.mark.slow
def test_the_stages_can_be_run_one_after_the_other(glue, make_directory, tmp_path):
    teacher, student = make_directory("t"), make_directory("s", num_hidden_layers=2)
    first = distill_task(distill_settings(glue, teacher, student, tmp_path / "i", stage="intermediate"))
    before = load_model(student)
    between = load_model(first["model"])
    # The intermediate stage does not reach the classifier.
    np.testing.assert_array_equal(before.head_layer.kernel, between.head_layer.kernel)
    assert not np.array_equal(before.weights[0], between.weights[0])
    second = distill_task(distill_settings(glue, teacher, first["model"], tmp_path / "p", stage="prediction"))
    assert not np.array_equal(load_model(second["model"]).head_layer.kernel, between.head_layer.kernel)


@pytest.mark.slow
def test_fewer_rows_than_a_batch_train_all_the_same(glue, make_directory, tmp_path):
    model = make_directory("m")
    settings = finetune_settings(
        glue, model, tmp_path / "t", max_train_examples=3, train_batch_size=32, epochs=1, evaluations=1
    )
    result = finetune(settings)
    assert not np.array_equal(load_model(result["model"]).weights[0], load_model(model).weights[0])


@pytest.mark.slow
def test_augmented_rows_take_the_place_of_the_task_s_own(glue, make_directory, tmp_path):
    folder = tmp_path / "augmented" / "SST-2"
    folder.mkdir(parents=True)
    folder.joinpath("train.tsv").write_text("sentence\tlabel\n" + "the film was not bad\t1\n" * 12)
    changes = {"augmented_data_dir": str(folder.parent), "epochs": 1, "evaluations": 1}
    result = finetune(finetune_settings(glue, make_directory("m"), tmp_path / "t", **changes))
    assert result["steps"] == 2, "12 rows in batches of 8"


@pytest.mark.slow
def test_the_papers_epochs_and_lengths_are_used(glue, make_directory, tmp_path):
    """In the published code they are dead code."""
    settings = compose(DistillSettings,
        task="sst2", data_dir=str(glue), output_dir=str(tmp_path / "d"), teacher=str(make_directory("t")),
        student=str(make_directory("s", num_hidden_layers=2)), train_batch_size=40,
    )  # fmt: skip
    distill_task(settings)
    lines = [json.loads(line) for line in (tmp_path / "d" / "metrics.jsonl").read_text().splitlines()]
    steps = {line["stage"]: line["step"] for line in lines}
    # 40 rows in two lengths, 20 epochs and 3 epochs that flow into each other; batches of 40.
    assert 20 <= steps["intermediate"] <= 22
    assert 3 <= steps["prediction"] <= 5


@pytest.mark.slow
def test_the_model_after_the_last_step_is_kept(glue, make_directory, tmp_path):
    """The published code never saves the steps after the last evaluation of a stage."""
    settings = finetune_settings(glue, make_directory("m"), tmp_path / "t", epochs=3, evaluations=2)
    finetune(settings)
    lines = [json.loads(line) for line in (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()]
    last = max(line["step"] for line in lines)
    assert [line for line in lines if line["split"] == "dev"][-1]["step"] == last
    assert (tmp_path / "t" / "last" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_teachers_own_label_order_is_kept(glue, make_directory, tmp_path):
    """Where the order is hard-wired, a good teacher with another order answers everything wrong."""
    taught = finetune(finetune_settings(glue, make_directory("m"), tmp_path / "t", epochs=20, learning_rate=3e-3))
    path = tmp_path / "t" / "model" / "config.json"
    model = load_model(taught["model"])
    kernel, bias = model.head_layer.get_weights()
    model.head_layer.set_weights([kernel[:, ::-1], bias[::-1]])
    from tinybert_tf.checkpoints import save_model

    swapped = tmp_path / "swapped"
    save_model(model, swapped, tokenizer_from=path.parent)
    config = json.loads((swapped / "config.json").read_text())
    config |= {"label2id": {"POSITIVE": 0, "NEGATIVE": 1}, "id2label": {"0": "POSITIVE", "1": "NEGATIVE"}}
    (swapped / "config.json").write_text(json.dumps(config))
    assert (
        evaluate_model(compose(EvaluateSettings, model_dir=str(swapped), task="sst2", data_dir=str(glue)))["score"]
        == 1.0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "sst3"}, "unknown task 'sst3'"),
        ({"data_dir": "/nowhere"}, "no such folder"),
        ({"preset": "nowhere"}, "model=nowhere: no such model directory"),
        ({"seq_len": 65}, "the model has 64 positions"),
    ],
)
def test_bad_settings_are_named(glue, make_directory, tmp_path, changes, message):
    changes = dict(changes)
    model = changes.pop("preset", None) or make_directory("m")
    settings = finetune_settings(glue, model, tmp_path / "t", **changes)
    with pytest.raises(InputError, match=message):
        finetune(settings)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("name", ["max_steps", "train_batch_size", "max_train_examples", "evaluations", "seq_len"])
def test_a_count_of_zero_is_refused(name):
    with pytest.raises(InputError, match=f"{name}=0: must be at least 1"):
        compose(FinetuneSettings, task="sst2", output_dir="x", **{name: 0})


def test_a_teacher_without_its_head_does_not_teach(glue, make_directory, tmp_path):
    settings = distill_settings(glue, make_directory("e", head="encoder"), "tinybert4", tmp_path / "d")
    with pytest.raises(InputError, match="fine-tune it first"):
        distill_task(settings)


def test_numbers_and_names_that_no_stage_can_use_are_refused(tmp_path):
    for changes, message in (
        ({"seed": -1}, "seed=-1: must be from 0 to 4294967295"),
        ({"intermediate_epochs": 0.0}, "intermediate_epochs=0.0: must be above 0"),
        ({"prediction_epochs": -1.0}, "prediction_epochs=-1.0: must be above 0"),
        ({"temperature": 0.0}, "temperature=0.0: must be above 0"),
    ):
        with pytest.raises(InputError, match=message):
            distill_settings(tmp_path, "t", "s", tmp_path / "d", **changes)
    with pytest.raises(InputError, match="epochs=0.0: must be above 0"):
        finetune_settings(tmp_path, "m", tmp_path / "t", epochs=0.0)
    with pytest.raises(InputError, match="teacher_dtype=float99: must be float32, mixed_bfloat16"):
        frozen_dtype("float99")


def test_a_vocabulary_of_another_name_is_refused(glue, tmp_path):
    """The model directory's would be looked for beside it."""
    with pytest.raises(InputError, match="words.txt: must be named vocab.txt"):
        finetune(finetune_settings(glue, "bert_tiny", tmp_path / "t", vocab=str(tmp_path / "words.txt")))
