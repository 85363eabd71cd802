"""How a student starts from its teacher.

`layer_copy` gives a student of the same width some of its teacher's layers. `teacher_projection` compresses the teacher into a
narrower one, see `tinybert_tf.distill.compression`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tinybert_tf.bert import BertModel, build_model, whole_network
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.checkpoints.weights import check_numbers
from tinybert_tf.distill.compression import compress_teacher, transfer_embeddings
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.errors import InputError

logger = logging.getLogger(__name__)

INITIALIZATIONS = ("random", "layer_copy", "teacher_projection")


def initialize_student(
    student: BertModel,
    teacher: BertModel,
    init: str = "teacher_projection",
    layers: str | Sequence[int] = "uniform",
    batches: Iterable[Mapping] | None = None,
) -> list[Projection] | None:
    """Fills `student` in place from `teacher`, and returns starting values for the `Distiller`.

    Both may have any dtype policy: the work is done in float32. A head of the same kind is made from the teacher's. Another kind
    of head is left unchanged, and so is, with a warning, a masked-LM head that is narrower than the teacher's.

    >>> import numpy as np
    >>> import tinybert_tf as tb
    >>> sizes = {"vocab_size": 30, "num_attention_heads": 2, "intermediate_size": 16, "label2id": {"no": 0, "yes": 1}}
    >>> teacher = tb.build_model(tb.BertConfig(num_hidden_layers=4, hidden_size=12, **sizes), head="classification")
    >>> student = tb.build_model(tb.BertConfig(num_hidden_layers=2, hidden_size=8, **sizes), head="classification")
    >>> ids = np.random.randint(1, 30, (64, 6))
    >>> features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
    >>> projections = tb.initialize_student(student, teacher, batches=[features])
    >>> print(*(kernel.shape for kernel, bias in projections))
    (8, 12) (8, 12) (8, 12)
    >>> distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.intermediate(), projections)

    Args:
        student: unchanged where an error is raised.
        teacher: unchanged.
        init: "random" leaves the student as it is; "layer_copy" copies the embeddings, the mapped layers, the pooler and
            the head; "teacher_projection" compresses all of them to the student's sizes.
        layers: which teacher layers the student's are made from; see `layer_map`.
        batches: of features, int [batch, seq], or tuples of them with labels and weights, as `tb.batches` gives; the text
            that teacher_projection fits its regressions on. A few hundred rows of real text are enough.

    Returns:
        Starting values for the `Distiller`'s projections, one for each hidden state of the student, the embedding output
        first: (kernel [student hidden, teacher hidden], bias [teacher hidden]). None to keep the `Distiller`'s defaults.

    Raises:
        InputError: shapes or labels that do not allow it, or no text.
    """
    if init not in INITIALIZATIONS:
        raise InputError(f"is not known; take one of {', '.join(INITIALIZATIONS)}", "init", repr(init))
    student, teacher = whole_network(student), whole_network(teacher)
    for name, network in (("student", student), ("teacher", teacher)):
        if not isinstance(network, BertModel):
            raise InputError(f"is a {type(network).__name__}; give a BertModel, whose layers have a known order", name)
    if init == "random":
        return None
    mapped = layer_map(layers, student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    _check_shapes(student, teacher, init)
    for variable in teacher.weights:
        check_numbers("the teacher", variable.path, np.asarray(variable, np.float32))
    if init == "layer_copy":
        return _copy_layers(student, teacher, mapped)
    if batches is None:
        raise InputError("needs the teacher's activations: give batches of real text", "init", init)
    if isinstance(batches, Mapping):
        batches = [batches]
    features = (batch[0] if isinstance(batch, tuple | list) else batch for batch in batches)
    working = _in_float32(student)
    if teacher.word_codes is not None:
        logger.warning("the teacher's word table is coded, the student's is not: prune the student with `whole_rows`")
    projections = compress_teacher(working, _in_float32(teacher), mapped, features)
    if working is not student:
        student.set_weights(working.get_weights())
    return projections


def _check_shapes(student: BertModel, teacher: BertModel, init: str) -> None:
    small, large = student.config, teacher.config

    def refuse(key: str, remedy: str):
        raise InputError(
            f"the student has {key}={getattr(small, key)} and the teacher {getattr(large, key)}; {remedy}", "init", init
        )

    if small.vocab_size != large.vocab_size:
        refuse("vocab_size", "give the student the teacher's vocabulary, or start from random weights (`init=random`)")
    if small.num_attention_heads != large.num_attention_heads:
        heads = large.num_attention_heads
        refuse(
            "num_attention_heads",
            f"build the student with num_attention_heads={heads}, or start from random weights (`init=random`)",
        )
    for key in ("max_position_embeddings", "type_vocab_size"):
        # A family without token types has none to copy.
        if getattr(small, key) > (getattr(large, key) or getattr(small, key)):
            refuse(key, f"build the student with {key}={getattr(large, key)} or less")
    reads_pooler = student.head in ("classification", "regression")
    if init == "layer_copy" and reads_pooler and small.pooler_activation != large.pooler_activation:
        refuse("pooler_activation", "take a student of the teacher's family, or `init=teacher_projection`")
    if reads_pooler and student.head == teacher.head and small.classifier_activation != large.classifier_activation:
        refuse("classifier_activation", f"build the student with classifier_activation={large.classifier_activation!r}")
    if init == "layer_copy" and small.hidden_act != large.hidden_act:
        refuse("hidden_act", f"copied layers need the function that they were trained with: {large.hidden_act!r}")
    if student.embeddings.project is not None and small.embedding_width != large.embedding_width:
        refuse("embedding_width", "build the student for the teacher's width of embeddings")
    if init == "layer_copy" and (student.embeddings.project is None) != (teacher.embeddings.project is None):
        refuse(
            "embedding_width", "embeddings are copied only between equal sizes; `init=teacher_projection` converts them"
        )
    for key in ("hidden_size", "intermediate_size"):
        if init == "layer_copy" and getattr(small, key) != getattr(large, key):
            refuse(key, "layers can be copied only between equal sizes; `init=teacher_projection` compresses them")
        if getattr(small, key) > getattr(large, key):
            refuse(key, f"it can only be cut down: build the student with {key}={getattr(large, key)} or less")
    has_labels = student.head == teacher.head and student.head in ("classification", "token_classification")
    if has_labels and dict(small.label2id) != dict(large.label2id):
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
