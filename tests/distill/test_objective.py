"""What an objective asks of the two networks, and which pairs it refuses."""

import pytest

from tinybert_tf.distill import TinyBertObjective
from tinybert_tf.distill.objective import Reads
from tinybert_tf.errors import InputError


def test_the_intermediate_stage_reads_every_layer_of_the_student_and_no_logits(config):
    student, teacher = config(layers=2), config(layers=6)
    objective = TinyBertObjective.intermediate()
    assert objective.student_reads(student) == Reads((0, 1, 2), (0, 1), logits=False)
    assert objective.teacher_reads(student, teacher) == Reads((0, 3, 6), (2, 5), logits=False)


def test_the_prediction_stage_reads_logits_alone(config):
    objective = TinyBertObjective.prediction()
    assert objective.student_reads(config()) == Reads(logits=True)
    assert objective.teacher_reads(config(), config(layers=6)) == Reads(logits=True)


def test_the_prediction_stage_does_not_mind_a_teacher_with_fewer_layers_or_other_heads(config):
    TinyBertObjective.prediction().check(config(layers=4, heads=4), config(layers=2, heads=2))


def test_a_weight_a_layer_leaves_layers_of_weight_zero_out(config):
    objective = TinyBertObjective(attention_weight=[0, 1], hidden_weight=[0.5, 0], embedding_weight=0)
    assert objective.student_reads(config(layers=2)) == Reads((1,), (1,))
    assert objective.teacher_reads(config(layers=2), config(layers=4)) == Reads((2,), (3,))


def test_a_list_of_weights_of_another_length_is_refused(config):
    for name in ("attention_weight", "hidden_weight"):
        with pytest.raises(InputError, match=rf"{name}=\[1, 2, 3\]: needs one number, or one for each of 2 layers"):
            TinyBertObjective(**{name: [1, 2, 3]}).check(config(layers=2), config(layers=4))


def test_other_head_counts_are_refused_with_both_and_the_ways_out(config):
    student, teacher = config(hidden=8, heads=2), config(hidden=16, heads=4, layers=4)
    with pytest.raises(InputError) as caught:
        TinyBertObjective().check(student, teacher)
    message = str(caught.value)
    assert "student has 2 attention heads" in message and "teacher 4" in message
    assert "num_attention_heads=4" in message and "attention_weight=0" in message
    TinyBertObjective(attention_weight=0).check(student, teacher)
    TinyBertObjective(attention_weight=[0, 0]).check(student, teacher)


def test_other_label_counts_are_refused_where_logits_are_compared(config):
    student, teacher = config(), config(label2id={"no": 0, "yes": 1})
    with pytest.raises(InputError, match="student has 3 labels and the teacher 2"):
        TinyBertObjective.prediction().check(student, teacher)
    TinyBertObjective.intermediate().check(student, teacher)


def test_a_layer_map_that_does_not_fit_is_refused_when_layers_are_matched(config):
    with pytest.raises(InputError, match="the student has 4 layers but the teacher only 2"):
        TinyBertObjective().check(config(layers=4), config(layers=2))
    with pytest.raises(InputError, match="layer map"):
        TinyBertObjective(layers=[1]).check(config(layers=2), config(layers=2))


@pytest.mark.parametrize(
    ("student", "teacher", "mapped"),
    [
        ({"layers": 4, "hidden": 24, "heads": 12}, {"layers": 6, "hidden": 48, "heads": 12}, (2, 3, 5, 6)),
        ({"layers": 3, "hidden": 8}, {"layers": 7, "hidden": 8}, (2, 5, 7)),
    ],
)
def test_neither_a_hidden_size_of_768_nor_a_multiple_of_layers_is_needed(config, student, teacher, mapped):
    student, teacher = config(**student), config(**teacher)
    objective = TinyBertObjective()
    objective.check(student, teacher)
    assert objective.teacher_reads(student, teacher).hidden_states == (0, *mapped)


def test_another_way_to_pad_is_refused(config):
    with pytest.raises(InputError, match="padding='include': must be exclude or reference"):
        TinyBertObjective(padding="include").check(config(), config())
