"""A model directory is written whole or not at all, with the vocabulary that belongs to it."""

import json

import pytest

from tinybert_tf.checkpoints import huggingface, load_model, save_model
from tinybert_tf.errors import InputError


def test_a_directory_is_not_replaced_by_one_with_another_vocabulary(network, vocabulary, tmp_path, caplog):
    target = tmp_path / "model"
    save_model(network(), target, tokenizer_from=vocabulary)
    with pytest.raises(InputError, match=r"vocab\.txt: 50 words, but the model has vocab_size=60"):
        save_model(network(vocab_size=60), target, tokenizer_from=vocabulary)
    assert load_model(target).config.vocab_size == 50 and "goes with the model" not in caplog.text
    save_model(network(), target)
    assert f"{target}: its vocabulary goes with the model that is replaced" in caplog.text


def test_a_mounted_disk_is_not_replaced(network, tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path)
    with pytest.raises(InputError, match="is a mounted disk, which cannot be replaced as a whole; name a folder in it"):
        save_model(network(), tmp_path)


def test_the_tokenizer_goes_along(network, vocabulary, tmp_path):
    (vocabulary / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    target = tmp_path / "model"
    save_model(network(), target, tokenizer_from=vocabulary)
    save_model(network(), target, tokenizer_from=target)
    assert (target / "vocab.txt").read_text() == (vocabulary / "vocab.txt").read_text()
    assert json.loads((target / "tokenizer_config.json").read_text())["do_lower_case"] is False


def test_a_tokenizer_that_is_not_there_is_named(network, tmp_path):
    with pytest.raises(InputError, match=r"vocab\.txt: no such vocabulary"):
        save_model(network(), tmp_path / "model", tokenizer_from=tmp_path)
    assert not (tmp_path / "model").exists()


def test_an_interrupted_save_leaves_the_old_directory_whole(network, difference, tmp_path, monkeypatch):
    model, directory = network(), tmp_path / "model"
    save_model(model, directory)
    before = sorted(directory.parent.iterdir())

    def interrupted(tensors, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface.safetensors.numpy, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(network(), directory)
    assert sorted(directory.parent.iterdir()) == before
    assert difference(model, load_model(directory)) == 0


def test_a_folder_that_is_no_model_is_not_replaced(network, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a model directory, so it is not replaced"):
        save_model(network(), tmp_path)
    assert (tmp_path / "thesis.txt").is_file()
