"""How a student starts from its teacher.

`layer_copy` gives a student of the same width some of its teacher's layers. `teacher_projection` makes a narrower one, see
`tinybert_tf.distill.compression`.
"""

from collections.abc import Iterable, Mapping, Sequence

from tinybert_tf.bert import BertModel, build_model
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.distill.compression import project_teacher, transfer_embeddings
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.errors import InputError

INITIALIZATIONS = ("random", "layer_copy", "teacher_projection")


def initialise_student(
    student: BertModel,
    teacher: BertModel,
    init: str,
    layers: str | Sequence[int] = "uniform",
    batches: Iterable[Mapping] | None = None,
) -> list[Projection] | None:
    """Fills `student` in place from `teacher`.

    Both may have any dtype policy: the work is done in float32. Heads of the same kind are taken over; another kind of head
    is left as it is.

    Args:
        student: a `BertModel`; unchanged where an error is raised.
        teacher: a `BertModel`; unchanged.
        init: "random" leaves the student as it is; "layer_copy" copies the embeddings, the mapped layers, the pooler and
            the head; "teacher_projection" cuts all of them down to the student's sizes.
        layers: which teacher layers the student's are made from; see `layer_map`.
        batches: of features, int32 [batch, seq]; what teacher_projection looks at the teacher's activations on. A few
            hundred rows of real text.

    Returns:
        Starting values for the `Distiller`'s projections, one for each hidden state of the student, the embedding output
        first; None where those of the `Distiller` will do.

    Raises:
        InputError: shapes or labels that do not allow it, or no text to look at.
    """
    if init not in INITIALIZATIONS:
        raise InputError(f"no initialisation named {init!r}; there are {', '.join(INITIALIZATIONS)}")
    if init == "random":
        return None
    mapped = layer_map(layers, student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    _check_shapes(student, teacher, init)
    if init == "layer_copy":
        return _copy_layers(student, teacher, mapped)
    if batches is None:
        raise InputError("init teacher_projection looks at the teacher's activations: give it batches of real text")
    working = _in_float32(student)
    projections = project_teacher(working, _in_float32(teacher), mapped, batches)
    if working is not student:
        student.set_weights(working.get_weights())
    return projections


def _check_shapes(student: BertModel, teacher: BertModel, init: str) -> None:
    ours, theirs = student.config, teacher.config

    def refuse(key: str, remedy: str):
        raise InputError(
            f"init {init}: the student has {key}={getattr(ours, key)} and the teacher {getattr(theirs, key)}; {remedy}"
        )

    if ours.vocab_size != theirs.vocab_size:
        refuse("vocab_size", "give the student the teacher's vocabulary, or start from random weights (init random)")
    if ours.num_attention_heads != theirs.num_attention_heads:
        refuse(
            "num_attention_heads",
            f"build the student with num_attention_heads={theirs.num_attention_heads}, or start from random weights "
            "(init random)",
        )
    for key in ("max_position_embeddings", "type_vocab_size"):
        # A family without token types gives none to begin with.
        if getattr(ours, key) > (getattr(theirs, key) or getattr(ours, key)):
            refuse(key, f"build the student with {key}={getattr(theirs, key)} or less")
    if student.embeddings.project is not None and ours.embedding_width != theirs.embedding_width:
        refuse("embedding_width", "build the student for the teacher's width of embeddings")
    for key in ("hidden_size", "intermediate_size"):
        if init == "layer_copy" and getattr(ours, key) != getattr(theirs, key):
            refuse(key, "layers can be copied only between equal sizes; init teacher_projection cuts them down")
        if getattr(ours, key) > getattr(theirs, key):
            refuse(key, f"it can only be cut down: build the student with {key}={getattr(theirs, key)} or less")
    has_labels = student.head == teacher.head and student.head in ("classification", "token_classification")
    if has_labels and dict(ours.label2id) != dict(theirs.label2id):
        refuse("label2id", "build both for the same labels with the same ids")


def _copy_layers(student: BertModel, teacher: BertModel, mapped: Sequence[int]) -> None:
    transfer_embeddings(student, teacher)
    pairs = [(student.pooler, teacher.pooler)]
    pairs += [
        (layer, teacher.transformer_layers[number - 1])
        for layer, number in zip(student.transformer_layers, mapped, strict=True)
    ]
    if student.head == teacher.head and student.head_layer is not None:
        pairs.append((student.head_layer, teacher.head_layer))
    for layer, source in pairs:
        layer.set_weights(source.get_weights())


def _in_float32(model: BertModel) -> BertModel:
    """The model itself, or a copy of it that computes in float32."""
    if model.dtype_policy.name == "float32":
        return model
    copy = build_model(model.config, model.head, dtype="float32")
    copy.set_weights(model.get_weights())
    return copy
