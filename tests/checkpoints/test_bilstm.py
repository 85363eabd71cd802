"""A BiLSTM's directory gives the same network back."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinybert_tf.bert import BiLstmConfig, BiLstmModel
from tinybert_tf.checkpoints import load_model, read_config, save_model
from tinybert_tf.errors import InputError

SIZES = {"embedding_size": 6, "units": 4, "hidden_size": 5}
IDS = np.array([[2, 7, 8, 3], [2, 9, 3, 0]])
FEATURES = {"input_word_ids": IDS, "input_mask": (IDS > 0).astype(int), "input_type_ids": np.zeros_like(IDS)}


@pytest.fixture
def bilstm():
    keras.utils.set_random_seed(1)
    return BiLstmModel(BiLstmConfig(12, {"no": 0, "yes": 1}, **SIZES))


def logits(model):
    return model(FEATURES)["logits"].numpy()


def test_a_directory_gives_the_network_back_and_puts_labels_in_another_order(bilstm, tmp_path):
    save_model(bilstm, tmp_path / "m")
    loaded = load_model(tmp_path / "m", strict_head=True)
    assert (loaded.head, read_config(tmp_path / "m")) == ("classification", (loaded.config, "classification"))
    np.testing.assert_allclose(logits(loaded), logits(bilstm), rtol=1e-5, atol=1e-6)
    turned = load_model(tmp_path / "m", label2id={"yes": 0, "no": 1})
    np.testing.assert_allclose(logits(turned), logits(bilstm)[:, ::-1], atol=1e-6)


def test_padding_is_not_read(bilstm):
    cut = {name: value[1:, :3] for name, value in FEATURES.items()}
    np.testing.assert_allclose(bilstm(cut)["logits"], logits(bilstm)[1:], atol=1e-6)


def test_a_score_is_a_regressor(tmp_path):
    save_model(BiLstmModel(BiLstmConfig(12, None, **SIZES)), tmp_path / "m")
    assert load_model(tmp_path / "m").head == "regression"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.astype(np.int8), "tensor hidden.kernel holds int8, so the weights are quantized"),
        (lambda x: x / np.float32(0), "tensor hidden.kernel holds NaN or infinity"),
    ],
)
def test_weights_that_are_no_finite_floats_are_refused(bilstm, tmp_path, change, said):
    save_model(bilstm, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    with np.errstate(divide="ignore", invalid="ignore"):
        save_file(tensors | {"hidden.kernel": change(tensors["hidden.kernel"])}, path)
    with pytest.raises(InputError, match=rf"model.safetensors: {said}"):
        load_model(tmp_path / "m")
    save_file({name: value.astype(np.float16) for name, value in tensors.items()}, path)
    np.testing.assert_allclose(logits(load_model(tmp_path / "m")), logits(bilstm), atol=0.01)


def test_weights_that_went_wrong_are_not_saved(bilstm, tmp_path):
    bilstm.lstm.backward_layer.cell.bias.assign(np.full(16, np.nan))
    with pytest.raises(InputError, match=r"the model 'bilstm': tensor lstm.backward.bias holds NaN or infinity"):
        save_model(bilstm, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_lora_is_saved_with_its_kernel(bilstm, tmp_path):
    bilstm.hidden_layer.enable_lora(2)
    bilstm.hidden_layer.lora_kernel_b.assign(np.random.normal(size=(2, 5)))
    save_model(bilstm, tmp_path / "m")
    np.testing.assert_allclose(logits(load_model(tmp_path / "m")), logits(bilstm), atol=1e-6)


def test_damage_is_named(bilstm, tmp_path):
    save_model(bilstm, tmp_path / "m")
    with pytest.raises(InputError, match="head 'classification', but 'span' is wanted"):
        load_model(tmp_path / "m", head="span")
    with pytest.raises(InputError, match="labels are no, yes, but a, b are wanted"):
        load_model(tmp_path / "m", label2id={"a": 0, "b": 1})
    values = json.loads((tmp_path / "m" / "config.json").read_text())
    for change, message in [
        ({"units": 5}, "forward.kernel has shape"),
        ({"units": -1}, "units=-1: must be an integer"),
    ]:
        (tmp_path / "m" / "config.json").write_text(json.dumps(values | change))
        with pytest.raises(InputError, match=message):
            load_model(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(values))
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="model.safetensors: missing"):
        load_model(tmp_path / "m")
