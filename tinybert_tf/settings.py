"""How the settings of programs are declared."""

import contextlib
import dataclasses
import typing
from typing import Any

import yaml

from tinybert_tf.errors import InputError

_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def setting(default: Any, help: str, *, required: bool = False) -> Any:
    """A dataclass field with the line that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help, "required": required})


def setting_type(field: dataclasses.Field) -> type:
    """bool, int, float or str: of `field`'s type, or of its `type | None`."""
    return next(kind for kind in (*typing.get_args(field.type), field.type) if kind in _TYPES)


def read_yaml(settings_class: type, source: str, text: str | bytes) -> dict[str, Any]:
    """Settings by name from a YAML mapping, each of the type that it is declared with.

    Only plain YAML is read: a tag that asks for a Python object is an error.

    Args:
        settings_class: a dataclass of settings.
        source: where the text is from, for messages.
        text: UTF-8.

    Raises:
        InputError: no YAML, no mapping, an unknown name, or a value of another type.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{source}: not valid YAML ({' '.join(str(error).split())}); write it as name: value"
        ) from None
    if not isinstance(values, dict):
        raise InputError(f"{source}: holds a {type(values).__name__}, not settings as name: value")
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    for name in values:
        if name not in fields:
            raise InputError(
                f"{source}: there is no setting {_shown(name)}; the settings are {', '.join(sorted(fields))}"
            )
    return {name: _typed(fields[name], value, source) for name, value in values.items()}


def _typed(field: dataclasses.Field, value: Any, source: str) -> Any:
    """The value of a setting; InputError if it is of another type."""
    kind = setting_type(field)
    if value is None and field.type != kind:
        return None
    if kind is bool or isinstance(value, bool):
        fits = kind is bool and isinstance(value, bool)
    elif kind is float and isinstance(value, str):  # to YAML 1e-5, without a point, is a text
        with contextlib.suppress(ValueError):
            return float(value)
        fits = False
    elif kind is str and isinstance(value, int | float):
        return str(value)
    else:
        fits = isinstance(value, int | float if kind is float else kind)
    if not fits:
        raise InputError(f"{source}: {field.name} is {_shown(value)}, but must be {_TYPES[kind]}")
    try:
        return kind(value)
    except OverflowError:
        raise InputError(f"{source}: {field.name} is too large for {_TYPES[kind]}") from None


def _shown(value: Any) -> str:
    """A scalar as it is, of anything that holds others its kind alone: a few lines of YAML can hold millions."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict | set | tuple) else repr(value)


def check_seed(seed: int) -> None:
    """Raises InputError for what NumPy and TensorFlow do not take for a seed."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed={seed}: must be from 0 to {2**32 - 1}")


def whole_numbers(flag: str, text: str) -> list[int]:
    """The value of a flag that takes several numbers: "1,2" -> [1, 2].

    Raises:
        InputError: something else stands there, or a number below 1.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise InputError(f"{flag}={text}: must be whole numbers from 1 on, with commas between them")
    return numbers
