"""A model is found by a path, a preset's name, or its name in Hugging Face's cache."""

import logging

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.presets import locate, resolve_directory


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Hugging Face's cache with two revisions of one model."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "hf" / "hub" / "models--org--small-bert"
    for revision in ("aaa", "bbb"):
        (folder / "snapshots" / revision).mkdir(parents=True)
        (folder / "snapshots" / revision / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("aaa\n")
    return folder


def test_a_name_in_the_cache_is_its_revision_main(cache, caplog):
    with caplog.at_level(logging.INFO, "tinybert_tf"):
        assert resolve_directory("org/small-bert") == cache / "snapshots" / "aaa"
    assert caplog.messages == [f"org/small-bert: from Hugging Face's cache, {cache / 'snapshots' / 'aaa'}"]
    assert locate(cache) == cache / "snapshots" / "aaa"
    (cache / "refs" / "main").write_text("../../../elsewhere")
    assert locate(cache).parent == cache / "snapshots"


def test_a_name_that_is_not_in_the_cache_says_where_it_was_looked_for(cache):
    with pytest.raises(InputError, match=r"model=org/other: no such model directory.*hub; download it there first"):
        resolve_directory("org/other", "model")
    for name in ("../hub", "org/..", "a/b/c", "org/"):
        assert locate(name) is None


def test_an_old_sentence_transformers_folder_has_its_model_inside(tmp_path):
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "modules.json").write_text("[]")
    assert locate(tmp_path) == tmp_path / "0_Transformer"
    (tmp_path / "config.json").write_text("{}")
    assert locate(tmp_path) == tmp_path


def test_a_folder_without_a_model_is_itself(tmp_path):
    assert locate(tmp_path) == tmp_path
    assert locate(tmp_path / "nothing") is None


def test_hugging_faces_cache_lies_where_its_own_client_has_it(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert resolve_directory("org/small-bert") == cache / "snapshots" / "aaa"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg").mkdir()
    (tmp_path / "hf").rename(tmp_path / "xdg" / "huggingface")
    assert resolve_directory("org/small-bert").is_relative_to(tmp_path / "xdg" / "huggingface" / "hub")
