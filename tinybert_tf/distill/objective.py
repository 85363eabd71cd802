"""What a student is asked to match: TinyBERT's objective (Jiao et al. 2020, equations 6 and 11)."""

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tinybert_tf.bert import BertConfig
from tinybert_tf.distill import losses
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Reads:
    """The outputs of one network that an objective reads; everything else need not be computed.

    `hidden_states` and `attention_logits` are indices into the lists of the model's output.
    """

    hidden_states: tuple[int, ...] = ()
    attention_logits: tuple[int, ...] = ()
    logits: bool = False


@dataclasses.dataclass(frozen=True)
class TinyBertObjective:
    """The weighted sum of attention, hidden, embedding and prediction losses.

    A weight of 0 leaves a term out: neither network computes what only that term reads.

    Attributes:
        layers: "uniform", "top", "bottom" or a list of teacher layers; see `layer_map`.
        attention_weight: one number for every student layer, or one number each.
        hidden_weight: likewise.
        embedding_weight: weight of the embedding loss.
        prediction_weight: weight of the prediction loss, which is that of the head: `losses.prediction_loss`, `losses.span_loss`
            or, of scores, `losses.regression_loss`.
        temperature: t of the prediction loss. The paper uses 1.
        padding: "exclude" leaves padded positions out of the means, "reference" counts them as the published code does.
        reduction: of a classifier's prediction loss; see `losses.prediction_loss`.
    """

    layers: str | Sequence[int] = "uniform"
    attention_weight: float | Sequence[float] = 1.0
    hidden_weight: float | Sequence[float] = 1.0
    embedding_weight: float = 1.0
    prediction_weight: float = 0.0
    temperature: float = 1.0
    padding: str = "exclude"
    reduction: str = "batch"

    @classmethod
    def intermediate(cls, **settings) -> "TinyBertObjective":
        """Stage 1, and the first half of stage 2: attention, hidden and embedding losses."""
        return cls(**settings)

    @classmethod
    def prediction(cls, **settings) -> "TinyBertObjective":
        """The second half of stage 2: the prediction loss alone."""
        off = {"attention_weight": 0.0, "hidden_weight": 0.0, "embedding_weight": 0.0, "prediction_weight": 1.0}
        return cls(**(off | settings))

    def check(self, student: BertConfig, teacher: BertConfig) -> None:
        """Raises InputError where the two networks cannot be matched, with the ways out."""
        if self.padding not in ("exclude", "reference"):
            raise InputError(f"padding={self.padding!r}: must be exclude or reference")
        student_layers = student.num_hidden_layers
        for name in ("attention_weight", "hidden_weight"):
            given = getattr(self, name)
            if not isinstance(given, int | float) and len(given) != student_layers:
                raise InputError(f"{name}={list(given)}: needs one number, or one for each of {student_layers} layers")
        if self._matches_layers():
            layer_map(self.layers, student_layers, teacher.num_hidden_layers)
        if any(self._per_layer("attention_weight", student_layers)) and (
            student.num_attention_heads != teacher.num_attention_heads
        ):
            raise InputError(
                f"the student has {student.num_attention_heads} attention heads and the teacher "
                f"{teacher.num_attention_heads}: their attention logits cannot be matched head by head; build the student "
                f"with num_attention_heads={teacher.num_attention_heads} or leave the term out with attention_weight=0"
            )
        if self.prediction_weight and student.num_labels != teacher.num_labels:
            raise InputError(
                f"the student has {student.num_labels} labels and the teacher {teacher.num_labels}; build both for one task"
            )

    def student_reads(self, student: BertConfig) -> Reads:
        layers = student.num_hidden_layers
        attention, hidden = self._per_layer("attention_weight", layers), self._per_layer("hidden_weight", layers)
        return Reads(
            hidden_states=tuple(index for index, weight in enumerate((self.embedding_weight, *hidden)) if weight),
            attention_logits=tuple(index for index, weight in enumerate(attention) if weight),
            logits=bool(self.prediction_weight),
        )

    def teacher_reads(self, student: BertConfig, teacher: BertConfig) -> Reads:
        """The teacher's side of `student_reads`, in the same order."""
        reads = self.student_reads(student)
        if not self._matches_layers():
            return reads
        mapped = (0, *layer_map(self.layers, student.num_hidden_layers, teacher.num_hidden_layers))
        return Reads(
            hidden_states=tuple(mapped[index] for index in reads.hidden_states),
            attention_logits=tuple(mapped[index + 1] - 1 for index in reads.attention_logits),
            logits=reads.logits,
        )

    def __call__(
        self, student: Mapping, teacher: Mapping, mask, weight, config: BertConfig, head: str = "classification"
    ):
        """The terms of the loss.

        Args:
            student: what `student_reads` asks for, as `hidden_states` (projected into the teacher's space),
                `attention_logits` (lists, in that order) and `logits`.
            teacher: what `teacher_reads` asks for.
            mask: [B, S], 1 = token.
            weight: [B] example weights, or None; for token classification also [B, S], those of the positions that the
                prediction loss is the mean of. The other losses read every token of a row that has such a position.
            config: the student's.
            head: the student's, which says what the logits are.

        Returns:
            Name of the term -> list of (weight, numerator, denominator), one a layer.
        """
        layers, reads = config.num_hidden_layers, self.student_reads(config)
        hidden_weights = (self.embedding_weight, *self._per_layer("hidden_weight", layers))
        attention_weights = self._per_layer("attention_weight", layers)
        terms = {}
        word_weight = None if weight is None else tf.cast(weight, tf.float32)
        weight = _of_rows(word_weight)
        for index, ours, theirs in zip(
            reads.attention_logits,
            student.get("attention_logits", ()),
            teacher.get("attention_logits", ()),
            strict=True,
        ):
            part = losses.attention_loss_sum(ours, theirs, mask, weight, self.padding)
            terms.setdefault("attention_loss", []).append((attention_weights[index], *part))
        for index, ours, theirs in zip(
            reads.hidden_states, student.get("hidden_states", ()), teacher.get("hidden_states", ()), strict=True
        ):
            part = losses.hidden_loss_sum(ours, theirs, mask, weight, self.padding)
            terms.setdefault("hidden_loss" if index else "embedding_loss", []).append((hidden_weights[index], *part))
        if self.prediction_weight:
            part = self._prediction(student["logits"], teacher["logits"], mask, word_weight, head)
            terms["prediction_loss"] = [(self.prediction_weight, *part)]
        return terms

    def _prediction(self, student, teacher, mask, weight, head) -> losses.Sum:
        if head == "regression":
            return losses.regression_loss_sum(student, teacher, weight)
        if head == "span":
            return losses.span_loss_sum(student, teacher, mask, weight, self.temperature)
        if head == "token_classification":
            tokens = tf.cast(mask, tf.float32)
            weight = tokens if weight is None else tokens * (weight[:, None] if weight.shape.rank == 1 else weight)
        return losses.prediction_loss_sum(student, teacher, self.temperature, weight, self.reduction)

    def _per_layer(self, name: str, layers: int) -> tuple[float, ...]:
        given = getattr(self, name)
        return (given,) * layers if isinstance(given, int | float) else tuple(given)

    def _matches_layers(self) -> bool:
        return any(self._per_layer("attention_weight", 1)) or any(self._per_layer("hidden_weight", 1))


def _of_rows(weight):
    """Example weights [B]; those of positions [B, S] say by their largest whether a row counts."""
    return weight if weight is None or weight.shape.rank == 1 else tf.reduce_max(weight, axis=-1)
