"""The dense layers that bring a student's outputs to the width of the teacher's: the paper's W_e and W_h."""

from collections.abc import Sequence

import keras
import numpy as np

from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill.networks import canonical, width
from tinybert_tf.distill.objectives import Match
from tinybert_tf.errors import InputError


def names_of(named: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the outputs that a side of a row reads."""
    if named is None:
        return ()
    return (named,) if isinstance(named, str) else tuple(named)


def projection_key(name: str, student: keras.Model) -> str:
    """The index of a hidden state, however it is spelled, or the name of another output."""
    return canonical(name, student).removeprefix("hidden_states/")


def projections_for(student, teacher, matches: Sequence[Match], values) -> dict[str, keras.layers.Dense]:
    """The dense layers of the rows with `project`, by the index of the hidden state or the name of another output."""
    rows: dict[str, Match] = {}
    for match in matches:
        if match.project:
            other = rows.setdefault(projection_key(match.student, student), match)
            widths = [width(teacher, names_of(row.teacher)[0]) for row in (other, match)]
            if widths[0] != widths[1]:
                raise InputError(
                    f"{match.student!r} is projected to {other.teacher!r} of width {widths[0]} and to {match.teacher!r} of width "
                    f"{widths[1]}; a state has one projection"
                )
    # The student's own, also of its variables: the optimizer computes one norm over both.
    policy = student.dtype_policy
    projections = {}
    for key in sorted(rows, key=lambda key: (not key.isdigit(), int(key) if key.isdigit() else key)):
        inputs, outputs = width(student, rows[key].student), width(teacher, names_of(rows[key].teacher)[0])
        layer = keras.layers.Dense(
            outputs,
            kernel_initializer="identity" if inputs == outputs else keras.initializers.TruncatedNormal(stddev=0.02),
            name=f"projection_{key}".replace("/", "_"),
            dtype=policy.name,
        )
        layer.build((None, None, inputs))
        if values is not None and key.isdigit():
            index = int(key)
            if index >= len(values) or values[index] is not None:  # a state that was not matched before has none
                layer.set_weights(_checked_projection(values, index, inputs, outputs))
        projections[key] = layer
    return projections


def _checked_projection(values: Sequence[Projection], index: int, inputs: int, outputs: int) -> Projection:
    """The starting value for a hidden state; InputError where there is none of its shape."""
    found = [None if value is None else tuple(tuple(np.shape(part)) for part in value) for value in values]
    if index >= len(found) or found[index] != ((inputs, outputs), (outputs,)):
        given = f"the one for it has the shapes {found[index]}" if index < len(found) else f"there are {len(found)}"
        raise InputError(
            f"need a kernel [{inputs}, {outputs}] and a bias [{outputs}] for hidden state {index}, but {given}; take those "
            "that `initialize_student` returned for these two networks",
            "projections",
        )
    return values[index]
