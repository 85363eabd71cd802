"""MiniLM and MiniLMv2: relations between the tokens of one layer.

Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers".
Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers".
"""

import dataclasses
import functools

import keras

from tinybert_tf.bert import BertModel
from tinybert_tf.distill.objectives import Batch, Match, serializable
from tinybert_tf.distill.rivals.checks import check_berts
from tinybert_tf.distill.rivals.relations import attention_values, divergence, relation_logits
from tinybert_tf.errors import InputError

RELATIONS = ("queries", "keys", "values")


@serializable
@dataclasses.dataclass(frozen=True)
class MiniLM:
    """Attention distributions and value relations of the last layers (MiniLM, equations 5 to 8).

    The student's width is free, its number of attention heads is the teacher's. No projections are learned.

    >>> MiniLM().value_weight
    1.0

    Attributes:
        teacher_layer: counted from 1; None for the last.
        attention_weight: of L_AT.
        value_weight: of L_VR.
    """

    teacher_layer: int | None = None
    attention_weight: float = 1.0
    value_weight: float = 1.0

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: a network that is no BERT, other head counts, or a layer that the teacher does not have.
        """
        check_berts("MiniLM", student, teacher)
        heads = student.config.num_attention_heads, teacher.config.num_attention_heads
        if heads[0] != heads[1]:
            raise InputError(
                f"MiniLM compares attention head by head, but the student has {heads[0]} heads and the teacher {heads[1]}; "
                "take minilmv2, whose relation heads are free"
            )
        m, n = len(student.transformer_layers) - 1, _layer(teacher, self.teacher_layer)
        relation = functools.partial(_relation, student_heads=heads[0], teacher_heads=heads[1])
        return [
            Match(
                "attention_loss",
                attention_values,
                f"attention_logits/{m}",
                f"attention_logits/{n}",
                self.attention_weight,
                "tokens",
            ),
            Match("value_loss", relation, f"values/{m}", f"values/{n}", self.value_weight, "tokens"),
        ]


@serializable
@dataclasses.dataclass(frozen=True)
class MiniLMv2:
    """Query-query, key-key and value-value relations with any number of relation heads (MiniLMv2, equations 4 to 7).

    Widths and numbers of attention heads of student and teacher are free.

    >>> MiniLMv2(relation_heads=48).relation_heads
    48

    Attributes:
        relation_heads: the paper takes 48 for teachers of 768 and 64 for 1024; None for the student's attention heads, or
            the largest number that divides both widths and is at most that.
        teacher_layer: counted from 1; None for the last. The paper takes an upper middle layer for teachers of 24 layers.
        query_weight: of the query-query relation.
        key_weight: of the key-key relation.
        value_weight: of the value-value relation.
    """

    relation_heads: int | None = None
    teacher_layer: int | None = None
    query_weight: float = 1.0
    key_weight: float = 1.0
    value_weight: float = 1.0

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: a network that is no BERT, relation heads that do not divide a width, or no such layer.
        """
        check_berts("MiniLMv2", student, teacher)
        widths = student.config.hidden_size, teacher.config.hidden_size
        heads = self.relation_heads
        if heads is None:
            heads = next(h for h in range(student.config.num_attention_heads, 0, -1) if not any(w % h for w in widths))
        if heads < 1 or any(width % heads for width in widths):
            raise InputError(
                f"must divide the student's width {widths[0]} and the teacher's {widths[1]}", "relation_heads", heads
            )
        m, n = len(student.transformer_layers) - 1, _layer(teacher, self.teacher_layer)
        relation = functools.partial(_relation, student_heads=heads, teacher_heads=heads)
        weights = (self.query_weight, self.key_weight, self.value_weight)
        return [
            Match(
                f"{name.removesuffix('s')}_loss".replace("querie", "query"),
                relation,
                f"{name}/{m}",
                f"{name}/{n}",
                weight,
                "tokens",
            )
            for name, weight in zip(RELATIONS, weights, strict=True)
        ]


def _layer(teacher: BertModel, number: int | None) -> int:
    """A layer's index from its number; the last one for None."""
    count = len(teacher.transformer_layers)
    if number is not None and not 1 <= number <= count:
        raise InputError(f"must be from 1 to {count}, the teacher's layers", "teacher_layer", number)
    return (number or count) - 1


def _relation(student, teacher, batch: Batch, student_heads: int, teacher_heads: int):
    return divergence(
        relation_logits(student, student, student_heads), relation_logits(teacher, teacher, teacher_heads), batch.mask
    )
