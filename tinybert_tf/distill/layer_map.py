"""Which teacher layer teaches each student layer: the paper's n = g(m), section 3.1 and Table 4."""

from collections.abc import Sequence

from tinybert_tf.errors import InputError

KINDS = ("uniform", "top", "bottom")


def layer_map(kind: str | Sequence[int], student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher layer g(m) for each student layer m = 1..M; layers count from 1, as in the paper.

    >>> layer_map("uniform", 4, 12), layer_map("top", 4, 12), layer_map([1, 3], 2, 6)
    ((3, 6, 9, 12), (9, 10, 11, 12), (1, 3))

    Args:
        kind: "uniform", g(m) = m N / M rounded half up where N is no multiple of M; "top", g(m) = N - M + m;
            "bottom", g(m) = m; or the M teacher layers themselves.
        student_layers: M.
        teacher_layers: N.

    Returns:
        M teacher layers.

    Raises:
        InputError: an unknown kind, more student than teacher layers, or a list that does not fit.
    """
    if not isinstance(kind, str):
        layers = tuple(int(layer) for layer in kind)
        if (
            len(layers) != student_layers
            or layers != tuple(kind)
            or not all(1 <= layer <= teacher_layers for layer in layers)
        ):
            raise InputError(
                f"layer map {list(kind)}: needs one teacher layer from 1 to {teacher_layers} "
                f"for each of the {student_layers} student layers"
            )
        return layers
    if kind not in KINDS:
        raise InputError(f"no layer map named {kind!r}; there are {', '.join(KINDS)}, or a list of teacher layers")
    if student_layers > teacher_layers:
        raise InputError(
            f"the student has {student_layers} layers but the teacher only {teacher_layers}; "
            "take a shallower student or give the layer map as a list"
        )
    students = range(1, student_layers + 1)
    if kind == "uniform":
        return tuple((2 * m * teacher_layers + student_layers) // (2 * student_layers) for m in students)
    offset = teacher_layers - student_layers if kind == "top" else 0
    return tuple(m + offset for m in students)
