"""A layer map in a variable gives the losses of the map that it holds."""

import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.distill.chosen_map import ChosenMapObjective

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.mark.parametrize("padding", ["exclude", "reference"])
def test_the_losses_are_those_of_the_map(padding):
    sizes = {"vocab_size": 30, "num_attention_heads": 2, "intermediate_size": 16, "label2id": {"no": 0, "yes": 1}}
    teacher = tb.build_model(tb.BertConfig(num_hidden_layers=4, hidden_size=12, **sizes), head="classification")
    student = tb.build_model(tb.BertConfig(num_hidden_layers=2, hidden_size=8, **sizes), head="classification")
    teacher.set_weights([10 * weight for weight in teacher.get_weights()])  # layers that differ
    ids = np.random.default_rng(0).integers(1, 30, (4, 6))
    mask = np.arange(6) < np.array([[6], [5], [4], [6]])
    features = {"input_word_ids": ids, "input_mask": mask.astype(int), "input_type_ids": np.zeros_like(ids)}
    weights = {"padding": padding, "attention_weight": 0.5, "hidden_weight": 2.0}
    chosen = ChosenMapObjective(tb.TinyBertObjective(layers=[1, 2], **weights))
    one_for_all = tb.Distiller(teacher, student, chosen)
    one_for_all.compile(tb.bert_adamw(1e-4, 10))
    losses = set()
    for layers in ([1, 2], [2, 4], [3, 1]):
        chosen.choose(layers)
        plain = tb.Distiller(teacher, student, tb.TinyBertObjective(layers=layers, **weights))
        for index, layer in one_for_all.projections.items():
            plain.projections[index].set_weights(layer.get_weights())
        plain.compile(tb.bert_adamw(1e-4, 10))
        got, wanted = (
            model.evaluate(features, batch_size=4, verbose=0, return_dict=True) for model in (one_for_all, plain)
        )
        assert got == pytest.approx(wanted, rel=1e-5)
        losses.add(round(got["loss"], 4))
    assert len(losses) == 3
