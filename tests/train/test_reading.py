"""A run tokenizes its examples once; a restart reads none of them again; runs of earlier versions are resumed as they began."""

import json

import numpy as np
import pytest

from tests.train.test_resume import interrupt_after
from tinybert_tf.checkpoints import load_model
from tinybert_tf.data.split import Split
from tinybert_tf.data.token_shards import TokenShards
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.reading import bucket_lengths


@pytest.fixture
def settings(glue, make_directory, tmp_path):
    """A function that makes the settings of a fine-tuning in a directory."""

    def make(name: str, **changes) -> FinetuneSettings:
        values = {"task": "sst2", "data_dir": str(glue), "train_batch_size": 8, "seq_len": 16, "evaluations": 1}
        values |= {"model": str(model), "output_dir": str(tmp_path / name), "epochs": 1, "learning_rate": 1e-2}
        return compose(FinetuneSettings, **(values | changes))

    model = make_directory("model")
    return make


def interrupted(monkeypatch, settings, steps: int) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(patched, steps)
        finetune(settings)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_restart_reads_no_example_again(settings, tmp_path, monkeypatch):
    passes = []
    read = Split.__iter__
    monkeypatch.setattr(Split, "__iter__", lambda self: (passes.append(self.name), read(self))[1])
    interrupted(monkeypatch, settings("run"), 2)
    assert "train" in passes and list((tmp_path / "run" / "cache").glob("tokens-*/word_ids"))
    passes.clear()
    finetune(settings("run"))
    assert "train" not in passes
    assert not (tmp_path / "run" / "cache").exists()  # it has served


@pytest.mark.slow
def test_a_cache_of_ones_own_is_kept_and_changes_nothing(settings, tmp_path):
    results = [finetune(settings(name, cache_dir=str(tmp_path / "kept"))) for name in ("first", "second")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_resumed_in_its_own_order(settings, tmp_path, monkeypatch):
    """Such a run read its rows in another order: shards would give it rows twice."""
    interrupted(monkeypatch, settings("old"), 2)
    path = tmp_path / "old" / "run.json"
    description = json.loads(path.read_text())
    del description["reading"]
    path.write_text(json.dumps(description))
    monkeypatch.setattr(TokenShards, "batches", None)  # would fail
    finetune(settings("old"))
    assert "reading" not in json.loads(path.read_text())


@pytest.mark.slow
def test_buckets_change_padding_and_no_result_but_the_order(settings, tmp_path):
    finetune(settings("full", buckets="none", max_steps=2))
    assert json.loads((tmp_path / "full" / "run.json").read_text())["resolved"]["buckets"] == [16]
    weights = load_model(tmp_path / "full" / "last").get_weights()
    assert all(np.isfinite(weight).all() for weight in weights)


def test_bucket_lengths_are_checked():
    assert bucket_lengths("auto", 128)[-1] == 128
    for text in ("0", "64,256", "a", ""):
        with pytest.raises(InputError, match=f"buckets={text}: must be auto, none or lengths from 1 to 128"):
            bucket_lengths(text, 128)
