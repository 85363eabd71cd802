"""Google's TensorFlow 1 checkpoints, written here under the names that its programs write."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.checkpoints import load_model, read_config
from tinybert_tf.errors import InputError

LAYER = {
    "attention/query": "attention/self/query",
    "attention/key": "attention/self/key",
    "attention/value": "attention/self/value",
    "attention/output": "attention/output/dense",
    "attention_layer_norm": "attention/output/LayerNorm",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
    "output_layer_norm": "output/LayerNorm",
}
REST = {
    "embeddings/layer_norm": "bert/embeddings/LayerNorm",
    "pooler/dense": "bert/pooler/dense",
    "masked_lm/transform": "cls/predictions/transform/dense",
    "masked_lm/layer_norm": "cls/predictions/transform/LayerNorm",
}


def google_variables(model):
    """The weights of `model` as Google's programs would have stored them."""
    variables = {}
    for variable in model.weights:
        module, leaf = variable.path.rsplit("/", 1)
        value = variable.numpy()
        if leaf == "embeddings":
            name = f"bert/{module}"
        elif module == "classifier":
            prefix = "cls/squad/" if model.head == "span" else ""
            name = prefix + {"kernel": "output_weights", "bias": "output_bias"}[leaf]
            value = value.T
        elif module == "masked_lm":
            name = "cls/predictions/output_bias"
        elif module.startswith("layer_"):
            layer, part = module.split("/", 1)
            name = f"bert/encoder/{layer}/{LAYER[part]}/{leaf}"
        else:
            name = f"{REST[module]}/{leaf}"
        variables[name] = value
    return variables


def write(model, directory, **more):
    directory.mkdir(exist_ok=True)
    values = google_variables(model) | more
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(directory / "bert_model.ckpt"), write_meta_graph=False)
    (directory / "checkpoint").unlink()  # Google publishes its models without one
    keys = ("label2id", "layer_norm_eps", "classifier_dropout", "pad_token_id")
    values = {key: value for key, value in model.config.to_dict().items() if key not in keys}
    (directory / "bert_config.json").write_text(json.dumps(values | {"pooler_type": "first_token_transform"}))
    return directory


@pytest.mark.parametrize("head", ["encoder", "classification", "regression", "span", "masked_lm"])
def test_google_checkpoints_load_with_their_head(network, difference, caplog, head, tmp_path):
    model = network(head)
    directory = write(model, tmp_path / head)
    loaded = load_model(directory)
    assert (loaded.head, loaded.config) == (head, read_config(directory)[0])
    assert read_config(directory)[1] == head
    assert difference(model, loaded) == 0
    assert caplog.text == ""


def test_the_state_of_the_optimizer_is_no_weight(network, difference, caplog, tmp_path):
    model = network("encoder")
    state = {
        "bert/pooler/dense/kernel/adam_m": np.zeros((24, 24), np.float32),
        "global_step": np.int64(7),
        "cls/seq_relationship/output_weights": np.zeros((2, 24), np.float32),
    }
    assert difference(model, load_model(write(model, tmp_path / "model", **state))) == 0
    assert "not used: cls/seq_relationship/output_weights" in caplog.text
    assert "adam_m" not in caplog.text and "global_step" not in caplog.text


def test_labels_can_be_given_their_names(network, difference, tmp_path):
    directory = write(network(), tmp_path / "model")
    nameless = load_model(directory)
    assert nameless.config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    named = load_model(directory, label2id={"yes": 2, "no": 0, "maybe": 1}, strict_head=True)
    assert named.config.label2id == {"yes": 2, "no": 0, "maybe": 1}
    assert difference(nameless, named) == 0


def test_a_kernel_and_a_classifier_without_axes_are_named(network, tmp_path):
    query = "bert/encoder/layer_0/attention/self/query/kernel"
    for name, value in {query: np.float32(1), "output_weights": np.float32(1)}.items():
        directory = write(network("classification"), tmp_path / name.replace("/", "_"), **{name: value})
        with pytest.raises(
            InputError, match=r"(query|classifier)\.weight has shape \[\], but the configuration asks for"
        ):
            load_model(directory)


def test_another_configuration_is_refused(network, tmp_path):
    directory = write(network("encoder"), tmp_path / "model")
    path = directory / "bert_config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 40', '"intermediate_size": 41'))
    with pytest.raises(
        InputError, match=r"bert_model\.ckpt: .*intermediate.*\[40, 24\].*\[41, 24\].*intermediate_size"
    ):
        load_model(directory)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_truncated_checkpoint_is_named(network, tmp_path, suffix):
    directory = write(network("encoder"), tmp_path / "model")
    path = directory / f"bert_model.ckpt{suffix}"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"bert_model\.ckpt: not a whole TensorFlow checkpoint") as error:
        load_model(directory)
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_the_system_does_not_give_out_is_not_called_damaged(network, tmp_path, monkeypatch):
    directory = write(network("classification"), tmp_path / "google")

    def refuse(prefix):
        raise tf.errors.PermissionDeniedError(None, None, f"{prefix}.index; Permission denied")

    monkeypatch.setattr(tf.train, "load_checkpoint", refuse)
    with pytest.raises(InputError, match=r"bert_model.ckpt: cannot be read: Permission denied; see to the disk"):
        load_model(directory)


def test_several_checkpoints_are_not_chosen_from(network, tmp_path):
    directory = write(network("encoder"), tmp_path / "model")
    (directory / "other.ckpt.index").touch()
    with pytest.raises(InputError, match=r"needs one TensorFlow checkpoint.*has bert_model\.ckpt, other\.ckpt"):
        load_model(directory)
