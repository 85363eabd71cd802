import doctest

import pytest

from tinybert_tf import errors
from tinybert_tf.errors import InputError


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(errors).failed == 0


def test_a_message_for_python_has_no_dashes_and_one_for_a_program_has_them():
    error = InputError(
        "the model has 32 positions; take a smaller `seq_len` than `seq_len=64`, not `numpy`", "model_dir", "m"
    )
    assert "--" not in str(error)
    assert error.as_flags({"seq_len", "model_dir"}) == (
        "--model_dir=m: the model has 32 positions; take a smaller --seq_len than --seq_len=64, not `numpy`"
    )


def test_a_parameter_without_a_value_is_followed_by_the_message():
    error = InputError("is missing", "train_file")
    assert (str(error), error.parameter) == ("train_file is missing", "train_file")
    assert error.as_flags({"train_file"}) == "--train_file is missing"


@pytest.mark.parametrize("text", ["two\nlines", "red \x1b[31m"])
def test_a_message_is_one_printable_line(text):
    assert str(InputError(text)).isprintable()


def test_a_long_message_is_truncated_in_the_middle():
    assert len(str(InputError("x" * 10_000))) < 1100
