"""Poor Man's BERT: Sajjad et al. 2020, "Poor Man's BERT: Smaller and Faster Transformer Models", section 3.

Layers are dropped before fine-tuning; no loss reads a teacher. The kept layers are a layer map for `initialize_student` with
"layer_copy".
"""

from collections.abc import Sequence

from tinybert_tf.errors import InputError

STRATEGIES = ("top", "bottom", "alternate", "symmetric", "contribution")


def kept_layers(
    strategy: str, student_layers: int, teacher_layers: int, similarities: Sequence[float] | None = None
) -> tuple[int, ...]:
    """The teacher layers that remain, counted from 1.

    >>> kept_layers("top", 6, 12), kept_layers("bottom", 6, 12)
    ((1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12))
    >>> kept_layers("alternate", 8, 12), kept_layers("symmetric", 8, 12)
    ((1, 2, 3, 4, 5, 7, 9, 11), (1, 2, 3, 4, 9, 10, 11, 12))

    Args:
        strategy: which layers are dropped: "top" (the last), "bottom" (the first), "alternate" (every other, from the top),
            "symmetric" (the middle), "contribution" (those that change their input least).
        student_layers: how many remain.
        teacher_layers: how many there are.
        similarities: for "contribution": the mean cosine of each layer's [CLS] input and output.

    Raises:
        InputError: an unknown strategy, more layers than there are, or similarities that are missing.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"must be one of {', '.join(STRATEGIES)}", "strategy", repr(strategy))
    if not 1 <= student_layers <= teacher_layers:
        raise InputError(f"must be from 1 to the teacher's {teacher_layers}", "student_layers", student_layers)
    everything, count = range(1, teacher_layers + 1), teacher_layers - student_layers
    if strategy == "contribution":
        if similarities is None or len(similarities) != teacher_layers:
            raise InputError(f"needs a value for each of the {teacher_layers} layers", "similarities")
        dropped = sorted(everything, key=lambda n: -similarities[n - 1])[:count]
    elif strategy == "top":
        dropped = everything[student_layers:]
    elif strategy == "bottom":
        dropped = everything[:count]
    elif strategy == "alternate":
        # Every other layer from the top down, then the ones between.
        order = [*range(teacher_layers, 0, -2), *range(teacher_layers - 1, 0, -2)]
        dropped = order[:count]
    else:
        first = (student_layers + 1) // 2
        dropped = everything[first : first + count]
    return tuple(n for n in everything if n not in dropped)
