"""Checks that a student can learn from a teacher, before anything trains."""

from collections.abc import Sequence

import keras

from tinybert_tf.bert import BertModel, BiLstmModel
from tinybert_tf.distill.networks import describe, ends_in_sigmoid, head_of, label_count, label_ids
from tinybert_tf.errors import InputError


def check_pair(student: keras.Model, teacher: keras.Model, reads_logits: bool = True) -> None:
    """Raises InputError for networks that do not fit each other, with both sides and the remedy.

    Args:
        student: the network that is trained.
        teacher: the network that it learns from.
        reads_logits: whether the two predictions are compared.
    """
    for role, network in (("student", student), ("teacher", teacher)):
        if not isinstance(network, keras.Model):
            raise InputError(
                f"the {role} is a {type(network).__name__}, not a Keras model; load a directory with `load_model`"
            )
    if student is teacher or {id(v) for v in student.variables} & {id(v) for v in teacher.variables}:
        raise InputError(
            "the student and the teacher are one network or share weights: the teacher is frozen, so nothing could be "
            "learned; build a second one"
        )
    if student.built and not student.trainable_variables:
        raise InputError(
            f"the student, {describe(student)}, is frozen, as a network is that taught another: set "
            "`student.trainable = True`"
        )
    if isinstance(student, BertModel | BiLstmModel) and isinstance(teacher, BertModel | BiLstmModel):
        words, known = student.config.vocab_size, teacher.config.vocab_size
        if words != known:
            raise InputError(
                f"the student has a vocabulary of {words} words and the teacher of {known}: the same token ids would mean "
                f"different words; build the student with `vocab_size={known}`"
            )
    if reads_logits:
        _check_heads(student, teacher)


def _check_heads(student: keras.Model, teacher: keras.Model) -> None:
    heads = {"student": (head_of(student), student), "teacher": (head_of(teacher), teacher)}
    for role, (head, network) in heads.items():
        if head == "encoder":
            raise InputError(
                f"the prediction loss needs logits, but the {role}, {describe(network)}, has none; load it with a task head"
            )
    if heads["student"][0] != heads["teacher"][0]:
        raise InputError(
            f"the student has the head {heads['student'][0]!r} and the teacher {heads['teacher'][0]!r}: their predictions "
            "cannot be compared; build both for one task"
        )
    ends = {"student": ends_in_sigmoid(student), "teacher": ends_in_sigmoid(teacher)}
    if ends["student"] != ends["teacher"]:
        one, other = sorted(ends, key=ends.get, reverse=True)
        raise InputError(
            f"the {one} ends in a sigmoid and the {other} does not: probabilities would be compared with logits; build "
            "both without it, a binary classifier with two classes"
        )
    counts = label_count(student), label_count(teacher)
    if None not in counts and counts[0] != counts[1]:
        raise InputError(f"the student has {counts[0]} labels and the teacher {counts[1]}; build both for one task")
    if heads["student"][0] in ("classification", "token_classification"):
        label_order(student, teacher)


def label_order(student: keras.Model, teacher: keras.Model) -> list[int] | None:
    """For each of the student's classes the row of the teacher's logits, matched by name; None for the same order.

    Raises:
        InputError: the labels of the two networks have other names.
    """
    wanted, given = label_ids(student), label_ids(teacher)
    if wanted is None or given is None or wanted == given:
        return None
    if wanted.keys() != given.keys():
        raise InputError(
            f"the student's labels are {', '.join(wanted)}, the teacher's {', '.join(given)}; build both for one task, the "
            "student with `label2id=teacher.config.label2id`"
        )
    return [given[label] for label in sorted(wanted, key=wanted.get)]


def check_vocabulary(student: Sequence[str], teacher: Sequence[str], student_file: str, teacher_file: str) -> None:
    """Raises InputError where two vocabularies are not the same words in the same order.

    Args:
        student: the student's words by id.
        teacher: the teacher's words by id.
        student_file: where the student's are from, for the message.
        teacher_file: where the teacher's are from.
    """
    if list(student) == list(teacher):
        return
    remedy = "take a student that was made with the teacher's vocabulary, or give the student as a size"
    if len(student) != len(teacher):
        raise InputError(
            f"the student's vocabulary has {len(student)} words ({student_file}), the teacher's {len(teacher)} "
            f"({teacher_file}); {remedy}"
        )
    number = next(i for i, (one, other) in enumerate(zip(student, teacher, strict=True)) if one != other)
    raise InputError(
        f"the vocabularies differ: word {number} is {student[number]!r} in {student_file} and {teacher[number]!r} in "
        f"{teacher_file}; {remedy}"
    )


def check_inputs(network: BertModel, role: str, seq_len: int, pairs: bool) -> None:
    """Raises InputError for a network that cannot read a task's inputs.

    Args:
        network: the network.
        role: "student", "teacher" or "model", for the message.
        seq_len: the longest input in tokens.
        pairs: whether the inputs are pairs of texts, which need two token types.
    """
    positions = network.config.max_position_embeddings
    if seq_len > positions:
        raise InputError(f"the {role} has {positions} positions; take a smaller one", "seq_len", seq_len)
    if pairs and getattr(network.config, "type_vocab_size", 2) == 1:  # a BiLSTM reads no types
        raise InputError(
            f"the {role} has type_vocab_size={network.config.type_vocab_size}, but the task's pairs of texts need 2 token "
            f"types; take a {role} that was built with two"
        )
