"""Class weights, unlabelled texts, the side of truncation, and labels without names."""

import dataclasses

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.distill.objectives import table
from tinybert_tf.distill.rivals import LAYER_OBJECTIVES
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.task_model import TaskModel, open_task_model
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import _prediction_training, distill_task
from tinybert_tf.train.settings import PROGRAM_OBJECTIVES
from tinybert_tf.train.training_set import training_set


@pytest.fixture
def opened(glue, make_directory, tmp_path):
    """(settings, network with its task) of a distillation with three unlabelled texts beside SST-2's 40 examples."""
    (tmp_path / "more.txt").write_text("the film\nnot bad\ngood\n")

    def make(**changes):
        values = {"task": "sst2", "data_dir": str(glue), "seq_len": 16, "train_batch_size": 8}
        values["output_dir"] = str(tmp_path / "run")
        settings = compose(DistillSettings, **values | {"unlabelled_file": str(tmp_path / "more.txt")} | changes)
        directory = make_directory("m")
        tokenizer = settings.data.open_tokenizer(directory)
        return settings, TaskModel.of(load_model(directory), tokenizer, settings.data.load(), settings.data.seq_len)

    return make


def test_a_teacher_also_labels_unlabelled_texts(opened):
    settings, trained = opened()
    training = training_set(settings, trained, has_teacher=True)
    assert training.rows == 43 and training.labelled().rows == 40
    assert training_set(settings, trained).rows == 40
    batches, steps = training.batches(1.0, None)
    assert steps == 6 and sum(int(np.sum(weight)) for _, _, weight in batches(0)) == 43


def test_classes_count_as_they_are_weighted(opened):
    settings, trained = opened(class_weights="1=3", unlabelled_file=None)
    batches, _ = training_set(settings, trained).batches(1.0, None)
    for _, label, weight in batches(0):
        np.testing.assert_array_equal(weight, np.where(label == 1, 3, 1))
    settings, trained = opened(class_weights="balanced")
    with pytest.raises(InputError, match="class_weights=balanced: the texts of `unlabelled_file` have no class"):
        training_set(settings, trained, has_teacher=True)


def test_the_side_of_truncation_is_that_of_the_setting(glue, make_directory):
    data = DataSettings(task="sst2", data_dir=str(glue))
    opened = open_task_model(make_directory("m"), dataclasses.replace(data, truncate="left"))
    assert opened.tokenizer.spec.truncation_side == "left"
    assert open_task_model(make_directory("m"), data).tokenizer.spec.truncation_side == "right"


def test_the_order_of_labels_without_names_is_logged(glue, make_directory, caplog):
    data = load_task("sst2", str(glue))
    for labels, logged in (({"LABEL_0": 0, "LABEL_1": 1}, 1), ({"positive": 0, "negative": 1}, 0)):
        caplog.clear()
        directory = make_directory("m", label2id=labels)
        TaskModel.of(load_model(directory), Tokenizer.from_directory(directory), data, 16, source="m")
        assumed = [message for message in caplog.messages if "assumed: 0 = negative, 1 = positive" in message]
        assert len(assumed) == logged


def test_unlabelled_texts_are_used_wherever_no_loss_reads_labels(opened, make_directory, caplog):
    teacher = load_model(make_directory("teacher"))
    for objective in PROGRAM_OBJECTIVES:
        caplog.clear()
        stage = {} if objective in LAYER_OBJECTIVES else {"stage": "prediction"}
        settings, trained = opened(objective=objective, **stage)
        training = training_set(settings, trained, has_teacher=True)
        kept = _prediction_training(training, trained.data, settings)
        reads_labels = objective == "theseus" or any(
            match.term == "label_loss"
            for match in table(settings.matching.prediction_objective(1.0), trained.model, teacher)
        )
        assert (kept.unlabelled is None) == reads_labels, objective
        assert ("unlabelled_file is not used" in caplog.text) == reads_labels


def test_a_dry_run_writes_nothing_to_a_shared_cache_either(opened, tmp_path, make_directory):
    teacher = make_directory("teacher")
    shared = {"cache_dir": str(tmp_path / "shared"), "dry_run": True, "max_steps": 2, "allow_weak_teacher": True}
    settings, _ = opened(teacher=str(teacher), student="2x8x2x16", **shared)
    assert distill_task(settings)["steps"] == 4
    assert not (tmp_path / "shared").exists() and not (tmp_path / "run").exists()
