"""A teacher's outputs are computed once and read back; what is trained with them is what is trained without."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.bert import BertConfig, build_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.data.token_shards import open_shards
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.distill.networks import reader
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose, replace
from tinybert_tf.train import teacher_cache
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.teacher_cache import TeacherCache

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def setting(glue, make_directory, tmp_path):
    """(shards, a function that makes a distiller of an objective, with dtype of the teacher)."""
    tokenizer = Tokenizer.from_directory(make_directory("t"))
    data = load_task("sst2", glue)
    shards = open_shards(tmp_path / "cache", data.train, tokenizer, data.task, 16, {"0": 0, "1": 1})
    config = BertConfig.from_dict(load_model(tmp_path / "t").config.to_dict())

    def make(objective, dtype="float32"):
        keras.utils.set_random_seed(0)
        teacher = load_model(tmp_path / "t", head="classification", dtype=dtype)
        return Distiller(
            teacher, build_model(config.replace(num_hidden_layers=2, hidden_size=8), "classification"), objective
        )

    return shards, make


@pytest.mark.parametrize(
    "objective, dtype, tolerance",
    [
        (TinyBertObjective.prediction(), "float32", 1e-6),
        (TinyBertObjective.intermediate(), "float32", 2e-3),  # kept in float16
        # Kept in the teacher's own precision; the two steps may round at other places.
        (TinyBertObjective.intermediate(), "bfloat16", 1e-3),
    ],
)
def test_losses_and_updates_are_those_of_a_teacher_that_is_computed(setting, tmp_path, objective, dtype, tolerance):
    shards, make = setting
    results = []
    for cached in (True, False):
        distiller = make(objective, dtype)
        distiller.compile(keras.optimizers.SGD(0.1))
        cache = TeacherCache(tmp_path / "cache", shards, distiller.teacher_reader)
        cache.compute()
        # Rows of one length, so that both see the same shapes: bfloat16 rounds by shape.
        rows = np.flatnonzero(shards.lengths == shards.lengths[0])[:4]
        batch = shards.batch(rows, 4, (int(shards.lengths[0]), 16), cache.features() if cached else None)
        dtypes = {str(values.dtype) for name, values in batch[0].items() if "hidden" in name}
        assert dtypes <= {"float16", "bfloat16"}
        loss = distiller.train_step(tf.nest.map_structure(tf.constant, batch))["loss"]
        results.append([np.asarray(loss), *distiller.student.get_weights()])
    for value, expected in zip(*results, strict=True):
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


def test_outputs_come_through_a_dataset(setting, tmp_path):
    shards, make = setting
    distiller = make(TinyBertObjective.intermediate(), "bfloat16")
    distiller.compile("sgd")
    cache = TeacherCache(tmp_path / "cache", shards, distiller.teacher_reader)
    cache.compute()
    dataset = shards.batches(8, seed=0, extra=cache.features())
    history = distiller.fit(dataset, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def only_free(size, monkeypatch):
    """The disk's free space from now on."""
    usage = shutil.disk_usage(".")._replace(free=size)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_states_are_kept_where_that_loses_nothing_and_pays(setting, tmp_path, monkeypatch):
    shards, make = setting
    objective = TinyBertObjective.intermediate()
    half, single = (TeacherCache(tmp_path, shards, make(objective, t).teacher_reader) for t in ("bfloat16", "float32"))
    assert half.keeps_states("auto", epochs=20) and not half.keeps_states("auto", epochs=1)
    assert not single.keeps_states("auto", epochs=20) and single.keeps_states("states", epochs=1)
    assert not half.keeps_states("logits", epochs=20)
    half.compute()
    # A resumed run decides as it did at first: what it has written is not missing from the room.
    only_free(half.size, monkeypatch)
    assert half.keeps_states("auto", epochs=20)
    only_free(0, monkeypatch)
    assert not half.keeps_states("auto", epochs=20)


def test_only_missing_rows_are_computed(setting, tmp_path, monkeypatch):
    shards, make = setting
    distiller = make(TinyBertObjective.prediction())
    cache = TeacherCache(tmp_path / "cache", shards, distiller.teacher_reader)
    cache.compute(np.arange(10))
    again = TeacherCache(tmp_path / "cache", shards, distiller.teacher_reader)
    written = []
    write = TeacherCache._write
    monkeypatch.setattr(
        TeacherCache, "_write", lambda self, name, rows, v: (written.extend(rows), write(self, name, rows, v))
    )
    again.compute()
    assert sorted(written) == list(range(10, shards.rows))
    again.compute()
    assert len(written) == shards.rows - 10
    (again.folder / "logits").write_bytes(b"")  # damaged: everything is computed again
    TeacherCache(tmp_path / "cache", shards, distiller.teacher_reader).compute()
    assert len(written) == 2 * shards.rows - 10


def test_an_interrupted_computation_keeps_what_is_done_and_no_more(setting, tmp_path, monkeypatch):
    shards, make = setting
    reader = make(TinyBertObjective.prediction()).teacher_reader
    monkeypatch.setattr(teacher_cache, "_BATCH_SIZE", 4)
    batches = []

    def write(self, name, rows, values):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(rows)
        _write(self, name, rows, values)

    _write = TeacherCache._write
    monkeypatch.setattr(TeacherCache, "_write", write)
    with pytest.raises(KeyboardInterrupt):
        TeacherCache(tmp_path, shards, reader).compute()
    assert sorted(np.flatnonzero(TeacherCache(tmp_path, shards, reader)._known)) == sorted(np.concatenate(batches))


def test_rows_are_known_only_after_their_values_are_on_the_disk(setting, tmp_path, monkeypatch):
    shards, make = setting
    cache = TeacherCache(tmp_path, shards, make(TinyBertObjective.prediction()).teacher_reader)
    known_before = []
    flush = np.memmap.flush

    def recorded(array):
        if array is cache._files["logits"]:
            known_before.append(int(cache._known.sum()))
        flush(array)

    monkeypatch.setattr(np.memmap, "flush", recorded)
    cache.compute()
    assert known_before == [0] and cache._known.all()


def test_other_weights_are_another_cache(setting, tmp_path):
    shards, make = setting
    distiller = make(TinyBertObjective.prediction())
    before = TeacherCache(tmp_path, shards, distiller.teacher_reader).folder
    weight = distiller.teacher.weights[0]
    weight.assign(weight + 1e-3)
    assert TeacherCache(tmp_path, shards, distiller.teacher_reader).folder != before


def test_a_small_disk_is_refused_before_anything_is_written(setting, tmp_path, monkeypatch):
    shards, make = setting
    cache = TeacherCache(tmp_path / "cache", shards, make(TinyBertObjective.intermediate()).teacher_reader)
    only_free(2 * cache.size - 1, monkeypatch)
    with pytest.raises(InputError, match=r"outputs take .* GB and the disk has .* GB; choose `teacher_cache=none`"):
        cache.compute()
    assert not cache.folder.exists()
    only_free(2 * cache.size, monkeypatch)
    cache.compute()
    assert cache._written_bytes() >= cache.size  # taken at once: a map of a disk that fills later would end the process


@pytest.mark.slow
def test_a_run_is_the_same_with_and_without_a_cache(glue, make_directory, tmp_path):
    values = {"task": "sst2", "data_dir": str(glue), "train_batch_size": 8, "seq_len": 16, "intermediate_epochs": 1,
              "prediction_epochs": 2, "teacher": str(make_directory("t")), "teacher_dtype": "float32",
              "student": str(make_directory("s", num_hidden_layers=2, hidden_size=8)), "allow_weak_teacher": True}  # fmt: skip
    settings = compose(DistillSettings, **values, output_dir=str(tmp_path / "none"), teacher_cache="none")
    distill_task(settings)
    distill_task(replace(settings, output_dir=str(tmp_path / "logits"), teacher_cache="logits"))
    expected = load_model(tmp_path / "none" / "last").get_weights()
    for weight, other in zip(load_model(tmp_path / "logits" / "last").get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-6)
    assert not (tmp_path / "logits" / "cache").exists()


def test_teachers_that_compute_otherwise_are_kept_apart(setting, tmp_path):
    """Neither the activation of a head nor the precision of products shows in the weights."""
    shards, _ = setting
    folders = set()
    for changes in ({}, {"classifier_activation": "relu"}, {"dtype": "mixed_bfloat16"}):
        teacher = load_model(tmp_path / "t", head="classification", **changes)
        folders.add(TeacherCache(tmp_path / "kept", shards, reader(teacher, ("logits",))).folder)
    assert len(folders) == 3
