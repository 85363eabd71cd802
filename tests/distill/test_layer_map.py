"""Which teacher layer teaches which student layer."""

import itertools

import pytest

from tinybert_tf.distill import layer_map
from tinybert_tf.errors import InputError


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, (3, 6, 9, 12)),  # the paper's TinyBERT4
        (6, 12, (2, 4, 6, 8, 10, 12)),  # and TinyBERT6
        (4, 6, (2, 3, 5, 6)),
        (3, 4, (1, 3, 4)),
        (5, 12, (2, 5, 7, 10, 12)),
        (6, 6, (1, 2, 3, 4, 5, 6)),
        (1, 12, (12,)),
    ],
)
def test_uniform_spreads_the_teacher_over_the_student(student, teacher, expected):
    assert layer_map("uniform", student, teacher) == expected


def test_uniform_always_rises_and_ends_at_the_last_layer():
    """Whether N is a multiple of M or not."""
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            layers = layer_map("uniform", student, teacher)
            assert layers[0] >= 1 and layers[-1] == teacher
            assert all(a < b for a, b in itertools.pairwise(layers)), (student, teacher, layers)


def test_top_and_bottom_take_one_end():
    assert layer_map("top", 4, 12) == (9, 10, 11, 12)
    assert layer_map("bottom", 4, 12) == (1, 2, 3, 4)


def test_a_list_is_taken_as_it_is():
    assert layer_map([2, 2, 6], 3, 6) == (2, 2, 6)
    assert layer_map((1, 5, 3, 6), 4, 6) == (1, 5, 3, 6)


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "message"),
    [
        ("middle", 2, 4, "no layer map named 'middle'; there are uniform, top, bottom"),
        ("uniform", 6, 4, "the student has 6 layers but the teacher only 4"),
        ([1, 2, 3], 2, 4, r"layer map \[1, 2, 3\]: needs one teacher layer from 1 to 4 for each of the 2"),
        ([0, 4], 2, 4, "from 1 to 4"),
        ([1, 5], 2, 4, "from 1 to 4"),
        ([], 2, 4, "for each of the 2 student layers"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(kind, student, teacher, message):
    with pytest.raises(InputError, match=message):
        layer_map(kind, student, teacher)


def test_a_layer_between_two_is_refused():
    with pytest.raises(InputError, match="layer map .1.5, 2.: needs one teacher layer"):
        layer_map([1.5, 2], 2, 4)
