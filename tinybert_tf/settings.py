"""Declares settings of programs as dataclasses, whose fields are flags and names in YAML files.

A program's settings are composed of groups that several programs share. Groups are flattened: a field has one name, whatever
group it is in.

>>> @dataclasses.dataclass(frozen=True)
... class Run:
...     seed: int = setting(0, "random seed")
>>> @dataclasses.dataclass(frozen=True)
... class Program:
...     run: Run = nested(Run)
...     steps: int = setting(10, "updates")
>>> list(flat_fields(Program))
['seed', 'steps']
>>> build(Program, {"seed": 3})
Program(run=Run(seed=3), steps=10)
"""

import collections
import contextlib
import copy
import dataclasses
import datetime
import math
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from tinybert_tf.errors import InputError

# Of programs in which nothing is random; every program accepts a seed.
UNUSED_SEED = "no effect: nothing here is random"

_TYPES = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


class _EachOnce(yaml.SafeLoader):
    """Plain YAML whose mappings have each name once; of two with one name, yaml would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = (name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode) and name.value != "<<")
        for name, count in collections.Counter(names).items():
            if count > 1:
                raise ValueError(f"two entries named {name!r}")
        return super().construct_mapping(node, deep)


def setting(default: Any, help: str, *, required: bool = False) -> Any:
    """A dataclass field with the line that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help, "required": required})


def nested(settings_class: type, **defaults: Any) -> Any:
    """A dataclass field that holds settings of another dataclass; `defaults` replace that class' own."""
    return dataclasses.field(default_factory=lambda: build(settings_class, defaults), metadata={"defaults": defaults})


def flat_fields(settings_class: type) -> dict[str, dataclasses.Field]:
    """The fields of a settings class and of its groups, by name, in order.

    Raises:
        TypeError: two groups have a field of the same name.
    """
    fields: dict[str, dataclasses.Field] = {}
    for field in dataclasses.fields(settings_class):
        found = {field.name: field}
        if dataclasses.is_dataclass(field.type):
            found = {name: copy.copy(inner) for name, inner in flat_fields(field.type).items()}
            for name, default in field.metadata["defaults"].items():
                found[name].default = default
                found[name].metadata = found[name].metadata | {"required": False}
        if twice := fields.keys() & found.keys():
            raise TypeError(f"{settings_class.__name__} has two settings named {', '.join(sorted(twice))}")
        fields |= found
    return fields


def flat_values(settings: Any) -> dict[str, Any]:
    """The values of settings and of their groups, by name."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        values |= flat_values(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return values


def build(settings_class: type, values: Mapping[str, Any]) -> Any:
    """An instance from flat values; missing names take their defaults, names of other classes are ignored."""
    arguments = {}
    for field in dataclasses.fields(settings_class):
        if dataclasses.is_dataclass(field.type):
            arguments[field.name] = build(field.type, field.metadata["defaults"] | values)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return settings_class(**arguments)


def compose(settings_class: type, **values: Any) -> Any:
    """`build` from keyword arguments.

    Raises:
        TypeError: a name that the class does not have.
    """
    if unknown := values.keys() - flat_fields(settings_class):
        raise TypeError(f"{settings_class.__name__} has no settings named {', '.join(sorted(unknown))}")
    return build(settings_class, values)


def replace(settings: Any, **changes: Any) -> Any:
    """A copy with other values for the settings named, in whichever group they are."""
    return build(type(settings), flat_values(settings) | changes)


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
        InputError: no YAML, no mapping, an unknown name, a name twice, or a value of another type.
    """
    try:
        values, written = yaml.load(text, _EachOnce), yaml.compose(text, _EachOnce)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{source}: not valid YAML ({' '.join(str(error).split())}); write it as name: value"
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{source}: holds a {type(values).__name__}, not settings as name: value")
    values.pop("method", None)  # for bin/compare.py: which program the file is for, and the paper's number
    fields = flat_fields(settings_class)
    for name in values:
        if name not in fields:
            raise InputError(
                f"{source}: there is no setting {_shown(name)}; the settings are {', '.join(sorted(fields))}"
            )
    # A text that looks like a number or a date stays as it is written: 0012, 1.10, 2024_01_05, 2024-01-05.
    texts = {name.value: value.value for name, value in written.value if isinstance(value, yaml.ScalarNode)}
    for name, value in values.items():
        if (
            setting_type(fields[name]) is str
            and isinstance(value, int | float | datetime.date)
            and not isinstance(value, bool)
        ):
            values[name] = texts.get(name, str(value))
    return {name: _typed(fields[name], value, source) for name, value in values.items()}


def _typed(field: dataclasses.Field, value: Any, source: str) -> Any:
    """The value of a setting; InputError if it is of another type."""
    kind = setting_type(field)
    if value is None and field.type != kind:
        return None
    if kind is bool or isinstance(value, bool):
        fits = kind is bool and isinstance(value, bool)
    elif kind is float and isinstance(value, str):  # YAML reads 1e-5, without a point, as text
        with contextlib.suppress(ValueError):
            return float(value)
        fits = False
    else:
        fits = isinstance(value, int | float if kind is float else kind)
    if not fits:
        remedy = "; put it in quotes" if kind is str and isinstance(value, bool) else ""
        raise InputError(f"{source}: {field.name} is {_shown(value)}, but must be {_TYPES[kind]}{remedy}")
    try:
        return kind(value)
    except OverflowError:
        raise InputError(f"{source}: {field.name} is too large for {_TYPES[kind]}") from None


def _shown(value: Any) -> str:
    """A scalar's repr; of a container only its type, since a few lines of YAML can hold millions of values."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict | set | tuple) else repr(value)


def check_seed(seed: int) -> None:
    """Raises InputError for values that NumPy and TensorFlow do not accept as a seed."""
    if not 0 <= seed < 2**32:
        raise InputError(f"must be from 0 to {2**32 - 1}", "seed", seed)


def check_positive(settings: Any, *names: str) -> None:
    """Raises InputError for the first of these settings that is given and not above 0, or not finite."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError("must be finite" if value == math.inf else "must be above 0", name, value)


def check_rate(settings: Any, *names: str) -> None:
    """Raises InputError for the first of these learning rates that is below 0 or not finite."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise InputError("must be a finite number from 0 on", name, value)


def check_one_of(settings: Any, name: str, *allowed: str) -> None:
    """Raises InputError if the setting is none of the allowed values."""
    if getattr(settings, name) not in allowed:
        raise InputError(f"must be {', '.join(allowed[:-1])} or {allowed[-1]}", name, getattr(settings, name))


def check_at_least_one(settings: Any, *names: str) -> None:
    """Raises InputError for the first of these settings that is given and below 1."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError("must be at least 1", name, value)


def integers(parameter: str, text: str) -> list[int]:
    """The value of a setting that takes several integers: "1,2" -> [1, 2].

    Raises:
        InputError: not integers, or one below 1.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise InputError("must be integers from 1 on, separated by commas", parameter, text)
    return numbers
