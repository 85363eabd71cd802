"""Checks of arguments that several functions take."""

import operator
from collections.abc import Mapping
from typing import Any

from tinybert_tf.errors import InputError


def whole_number(parameter: str, value: Any, least: int) -> int:
    """An integer of Python, NumPy or TensorFlow as Python's, which slices and shapes need.

    >>> import numpy as np
    >>> whole_number("seq_len", np.int64(16), least=3)
    16

    Args:
        parameter: its name, for messages.
        value: the integer.
        least: the smallest that can be used.

    Raises:
        InputError: a text, a fraction, or less than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        shown = repr(value) if isinstance(value, str) else value
        raise InputError(f"must be an integer of at least {least}", parameter, shown)
    return number


def check_listed(parameter: str, values: Any, kind: str = "texts") -> None:
    """Raises InputError for what is no list, no array and no column. A mapping or a table would be read as its names.

    Args:
        parameter: its name, for messages.
        values: what was given.
        kind: what the entries are, for messages.
    """
    try:
        iter(values)
        is_listed = not isinstance(values, str | bytes | Mapping) and not hasattr(values, "columns")
    except TypeError:
        is_listed = False
    if not is_listed:
        found = "is missing" if values is None else f"is a {type(values).__name__}"
        raise InputError(f"{found}; give a list of {kind}, or one column of a table", parameter)


def as_list(parameter: str, values: Any, kind: str = "texts") -> list:
    """The entries of a list, an array or a column; see `check_listed`.

    Raises:
        InputError: something else, such as None, a single text or a whole table.
    """
    check_listed(parameter, values, kind)
    return list(values.numpy() if hasattr(values, "numpy") else values)  # of TensorFlow
