"""A model directory is written whole or not at all, with the vocabulary that belongs to it."""

import copy
import json

import numpy as np
import pytest

from tinybert_tf.checkpoints import huggingface, load_model, save_model
from tinybert_tf.data import Tokenizer
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


def test_the_tokenizer_may_be_an_object(network, vocabulary, tmp_path):
    tokenizer = Tokenizer(vocabulary / "vocab.txt", lower_case=False)
    for number, source in enumerate((tokenizer, tokenizer.spec)):
        save_model(network(), tmp_path / f"{number}", tokenizer_from=source)
        assert (tmp_path / f"{number}" / "vocab.txt").read_text() == (vocabulary / "vocab.txt").read_text()
        assert not Tokenizer.from_directory(tmp_path / f"{number}").lower_case
    with pytest.raises(InputError, match="tokenizer_from is a list; give a directory, a Tokenizer or its `spec`"):
        save_model(network(), tmp_path / "model", tokenizer_from=tokenizer.vocabulary)


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


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_went_wrong_do_not_replace_a_model(network, difference, tmp_path, value):
    model, directory = network(), tmp_path / "model"
    save_model(model, directory)
    spoilt = copy.deepcopy(model)
    kernel = spoilt.transformer_layers[1].intermediate.kernel
    kernel.assign(np.where(np.arange(40) == 7, value, kernel))
    with pytest.raises(
        InputError, match=r"the model 'bert': tensor layer_1/intermediate/kernel holds NaN or infinity; take"
    ):
        save_model(spoilt, directory)
    assert difference(model, load_model(directory)) == 0


def test_a_lora_is_merged_by_keras_before_a_model_is_saved(network, difference, tmp_path):
    model = network()
    pooler, table = model.pooler.dense, model.embeddings.word_embeddings
    kernel, rows = pooler.kernel.numpy(), table.embeddings.numpy()
    pooler.enable_lora(2, lora_alpha=3)
    table.enable_lora(1)
    pooler.lora_kernel_b.assign(np.random.normal(size=(2, 24)))
    table.lora_embeddings_b.assign(np.random.normal(size=(1, 24)))
    with pytest.raises(
        InputError, match=r"'bert': layer embeddings/word_embeddings has a LoRA, .* give `copy.deepcopy\(model\)`"
    ):
        save_model(model, tmp_path / "model")
    save_model(copy.deepcopy(model), tmp_path / "model")
    merged = load_model(tmp_path / "model")
    added = 3 / 2 * pooler.lora_kernel_a.numpy() @ pooler.lora_kernel_b.numpy()
    np.testing.assert_allclose(merged.pooler.dense.kernel, kernel + added, atol=1e-5)
    added = table.lora_embeddings_a.numpy() @ table.lora_embeddings_b.numpy()
    np.testing.assert_allclose(merged.embeddings.word_embeddings.embeddings, rows + added, atol=1e-5)
    assert difference(model, merged) < 1e-4


def test_weights_that_keras_made_integers_are_refused(network, tmp_path):
    model = network()
    model.pooler.dense.quantize("int8")
    with pytest.raises(InputError, match="tensor pooler/dense/kernel holds int8, so the weights are quantized"):
        save_model(model, tmp_path / "model")
