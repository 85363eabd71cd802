"""Every public model, layer and optimizer passes the shared checks."""

import keras
import numpy as np
import pytest

from tests import shared_checks as checks
from tinybert_tf.bert import HEADS, BertConfig, build_model, layers, logits_model
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.train.optimizer import AdamW, LinearDecay, bert_adamw

SIZES = {
    "vocab_size": 40,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.3,
    "label2id": {"no": 0, "yes": 1},
}
CONFIG = BertConfig(num_hidden_layers=2, hidden_size=8, **SIZES)
TEACHER = BertConfig(num_hidden_layers=4, hidden_size=12, **SIZES)
LABELS = np.array([0, 1, 1, 0], np.int32)


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture
def features():
    mask = (np.arange(6) < np.array([[6], [4], [2], [5]])).astype(np.int32)
    ids = np.random.randint(1, 40, mask.shape).astype(np.int32)
    return {"input_word_ids": ids * mask, "input_mask": mask, "input_type_ids": np.zeros_like(mask)}


def distiller(dtype=None, teacher_dtype=None, objective=None):
    teacher = build_model(TEACHER, "classification", dtype=teacher_dtype)
    student = build_model(CONFIG, "classification", dtype=dtype)
    return Distiller(teacher, student, objective or TinyBertObjective(prediction_weight=1.0))


def classifier(dtype=None):
    return logits_model(build_model(CONFIG, "classification", dtype=dtype))


def compiled(model, optimizer=None, **options):
    loss = None if isinstance(model, Distiller) else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or bert_adamw(1e-3, 10), loss=loss, **options)
    return model


HIDDEN = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
IDS = np.random.default_rng(0).integers(0, 40, (3, 5)).astype(np.int32)
ADDED = np.zeros((3, 1, 1, 5), np.float32)
LAYERS = {
    "AttentionMask": (lambda: layers.AttentionMask(), [np.ones((3, 5), np.int32)]),
    "Embeddings": (lambda: layers.Embeddings(CONFIG), [IDS, np.zeros_like(IDS)]),
    "SelfAttention": (lambda: layers.SelfAttention(CONFIG), [HIDDEN, ADDED]),
    "TransformerLayer": (lambda: layers.TransformerLayer(CONFIG), [HIDDEN, ADDED]),
    "Pooler": (lambda: layers.Pooler(CONFIG), [HIDDEN]),
    "MaskedLMHead": (lambda: layers.MaskedLMHead(CONFIG, keras.layers.ReversibleEmbedding(40, 8)), [HIDDEN]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    make, inputs = LAYERS[name]
    checks.check_layer(make(), *inputs)


@pytest.mark.parametrize("head", HEADS)
def test_networks_are_saved_whole_and_by_their_logits(head, features, tmp_path):
    network = build_model(CONFIG, head)
    checks.check_serialization(network)
    checks.check_save_and_load(network, features, tmp_path / "network.keras")
    if head != "encoder":
        checks.check_save_and_load(logits_model(network), features, tmp_path / "logits.keras")


def test_a_loaded_masked_lm_still_shares_its_word_table(features, tmp_path):
    model = logits_model(build_model(CONFIG, "masked_lm"))
    model.save(tmp_path / "masked_lm.keras")
    again = keras.models.load_model(tmp_path / "masked_lm.keras")
    assert again.get_layer("masked_lm").word_embeddings is again.get_layer("embeddings").word_embeddings
    assert len(again.weights) == len(model.weights)


@pytest.mark.parametrize("make", [slow(classifier), distiller])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", *map(slow, ("float32", "mixed_float16", "float64"))])
def test_models_fit_evaluate_and_predict_in_every_precision(make, dtype, features):
    checks.check_fit_evaluate_predict(compiled(make(dtype)), features, LABELS)


@pytest.mark.parametrize("teacher_dtype", map(slow, ("bfloat16", "float64", "float16", "mixed_float16")))
def test_a_teacher_has_a_precision_of_its_own(teacher_dtype, features):
    checks.check_fit_evaluate_predict(compiled(distiller(teacher_dtype=teacher_dtype)), features, LABELS)


@pytest.mark.slow
def test_models_load_in_a_process_that_only_imports_the_package_and_train_on_replicas(features, tmp_path):
    models = {
        "distiller": (compiled(distiller(teacher_dtype="bfloat16"), metrics=["accuracy"]), LABELS),
        "classifier": (compiled(classifier()), LABELS),
        "masked_lm": (logits_model(build_model(CONFIG, "masked_lm")), LABELS),
        "bert": (build_model(CONFIG, "span"), LABELS),
    }
    checks.check_fresh_process(models, features, tmp_path)


def test_optimizers_keep_what_is_not_decayed():
    checks.check_serialization(bert_adamw(1e-3, 10))
    checks.check_serialization(LinearDecay(0.1, 10, 2))
    for make in (
        lambda: bert_adamw(1e-3, 10),
        lambda: AdamW(1e-3, undecayed=("bias",)),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(make()))
        variables = [keras.Variable(np.ones(2), name=name) for name in ("kernel", "bias")]
        again.build(variables)
        assert [again._use_weight_decay(v) for v in variables] == [True, False]
    by_method = AdamW(1e-3)
    by_method.exclude_from_weight_decay(var_names=["kernel"])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(by_method))
    assert not again._use_weight_decay(keras.Variable(np.ones(2), name="kernel"))
    with pytest.raises(ValueError, match="amsgrad"):
        AdamW(1e-3, amsgrad=True)


def test_the_private_names_of_keras_that_we_rely_on_exist():
    """Keras is pinned below 3.16; where one of these goes, what used it is to be looked at again."""
    optimizer = keras.optimizers.AdamW()
    optimizer.build([keras.Variable(1.0)])
    for name in ("_clip_gradients", "_all_reduce_sum_gradients", "_momentums", "_velocities", "_get_variable_index"):
        assert hasattr(optimizer, name), name
    model = compiled(classifier())
    for name in ("_maybe_symbolic_build", "_loss_tracker", "_compile_config"):
        assert hasattr(model, name), name
