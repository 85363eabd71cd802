"""Distillation objectives as tables of terms, and TinyBERT's (Jiao et al. 2020, equations 6 and 11).

An objective is resolved once, for two networks, into a table. Each row, a `Match`, names an output of the student, an
output of the teacher, the loss between them and its weight. The table determines which layers are computed, the names of
the terms, the projections and the loss.

A custom loss is a function of two outputs and the batch that returns a value for each example (or each position):

>>> import tensorflow as tf
>>> import tinybert_tf as tb
>>> def cls_distance(student, teacher, batch):
...     return 1 + tf.keras.losses.cosine_similarity(teacher[:, 0], student[:, 0])  # [B, S, D] -> [B]
>>> objective = [
...     tb.TinyBertObjective.prediction(temperature=2.0),
...     tb.Match("cls_loss", cls_distance, "hidden_states/-1", "hidden_states/-1", project=True),
...     tb.objectives.HardLabels(weight=0.5),
... ]
>>> sizes = {"vocab_size": 30, "num_attention_heads": 2, "intermediate_size": 16, "label2id": {"no": 0, "yes": 1}}
>>> teacher = tb.build_model(tb.BertConfig(num_hidden_layers=4, hidden_size=12, **sizes), head="classification")
>>> student = tb.build_model(tb.BertConfig(num_hidden_layers=2, hidden_size=8, **sizes), head="classification")
>>> distiller = tb.Distiller(teacher, student, objective)
>>> [match.term for match in distiller.matches]
['prediction_loss', 'cls_loss', 'label_loss']
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.distill import losses
from tinybert_tf.distill.batch import Batch
from tinybert_tf.distill.layer_map import KINDS, layer_map
from tinybert_tf.distill.networks import describe, head_of
from tinybert_tf.errors import InputError

OVER = ("rows", "tokens", "pairs", "words")


Loss = Callable[[Any, Any, Batch], tf.Tensor]


@keras.saving.register_keras_serializable(package="tinybert_tf")
@dataclasses.dataclass(frozen=True)
class Match:
    """One row of an objective's table. Rows of the same term are added up.

    >>> def distance(student, teacher, batch):
    ...     return tf.reduce_mean(tf.math.squared_difference(student, teacher), axis=-1)
    >>> Match("pooled_loss", distance, "pooled_output", "pooled_output", weight=0.5).over
    'rows'

    Attributes:
        term: the name in the logs.
        loss: `loss(student's output, teacher's output, batch=Batch)` -> values [B, ...], whose first axes are those of
            `over`. A Keras layer that is built already may have weights: they are trained with the student.
        student: name of the student's output, see `tinybert_tf.distill.networks`; a tuple of names gives a tuple of outputs.
        teacher: name of the teacher's output, or a tuple, or None for a loss that reads none.
        weight: at least 0; a row of weight 0 is left out and nothing is computed for it.
        over: what the loss is the mean over: "rows", "tokens", "pairs" or "words", see `Batch.weights`.
        project: whether the student's output passes a learned dense layer to the width of the teacher's; of a tuple, to that of
            the first, which is that of all.

    Raises:
        InputError: a negative weight, an unknown `over`, or the term "loss", which is that of the sum.
    """

    term: str
    loss: Loss
    student: str | tuple[str, ...]
    teacher: str | tuple[str, ...] | None = None
    weight: float = 1.0
    over: str = "rows"
    project: bool = False

    def __post_init__(self):
        _check_weight("weight", self.weight)
        if self.term == "loss":
            raise InputError("is the name of the sum in the logs; take another", "term", self.term)
        if self.over not in OVER:
            raise InputError(f"must be one of {', '.join(OVER)}", "over", repr(self.over))
        if self.project and not (isinstance(self.student, str) and self.teacher):
            raise InputError("needs one output of the student, and the teacher's, all of one width", "project", True)

    def get_config(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Match":
        names = {key: tuple(v) if isinstance(v := config[key], list) else v for key in ("student", "teacher")}
        return cls(**(config | names | {"loss": keras.saving.deserialize_keras_object(config["loss"])}))


class Objective(Protocol):
    """An object that returns its rows for two networks; `serializable` lets a dataclass be saved with a `Distiller`."""

    def matches(self, student: keras.Model, teacher: keras.Model) -> Sequence[Match]: ...


def serializable(objective: type) -> type:
    """A class decorator: lets a dataclass of plain values be saved with a `Distiller`."""
    objective.get_config = lambda self: dataclasses.asdict(self)
    objective.from_config = classmethod(lambda cls, config: cls(**config))
    return keras.saving.register_keras_serializable(package="tinybert_tf")(objective)


def table(
    objective: "Objective | Match | Sequence[Objective | Match]", student: keras.Model, teacher: keras.Model
) -> tuple[Match, ...]:
    """The rows of an objective, of a row or of a list of both, without those of weight 0.

    Raises:
        InputError: no row is left, or something that is not an objective.
    """
    parts = objective if isinstance(objective, Sequence) else [objective]
    rows: list[Match] = []
    for part in parts:
        if isinstance(part, type) or not (isinstance(part, Match) or hasattr(part, "matches")):
            found = f"the class {part.__name__}; call it" if isinstance(part, type) else f"a {type(part).__name__}"
            raise InputError(f"an objective is a Match, has a method `matches`, or is a list of both, not {found}")
        rows += [part] if isinstance(part, Match) else part.matches(student, teacher)
    rows = [row for row in rows if row.weight]
    if not rows:
        raise InputError("the objective has no term: all weights are 0; give one of them a weight")
    return tuple(rows)


@serializable
@dataclasses.dataclass(frozen=True)
class TinyBertObjective:
    """The weighted sum of attention, hidden, embedding and prediction losses (Jiao et al. 2020, equations 6 and 11).

    A weight of 0 leaves a term out: neither network computes what only that term reads. By default `prediction_weight` is 0, so
    that the student's head is not trained. `intermediate()` is this default, the losses of the layers; `prediction()` is the
    prediction loss alone. The paper trains with one after the other; weights for all terms make one stage of both.

    >>> TinyBertObjective.prediction(temperature=2.0).prediction_weight
    1.0

    Attributes:
        layers: "uniform", "top", "bottom" or a list of teacher layers; see `layer_map`.
        attention_weight: one number for every student layer, or one for each.
        hidden_weight: one number for every student layer, or one for each.
        embedding_weight: weight of the embedding loss.
        prediction_weight: weight of the prediction loss, which is that of the head: `losses.prediction_loss`, `losses.span_loss`
            or, of scores, `losses.regression_loss`. At 0 the head is not trained.
        temperature: t of the prediction loss. The paper uses 1.
        padding: "exclude" leaves padded positions out of the means, "reference" counts them as the published code does.
        reduction: of a classifier's prediction loss; see `losses.prediction_loss`.

    Raises:
        InputError: a negative weight, weights that are all 0, a temperature of 0 or below, an unknown padding or reduction.
    """

    layers: str | Sequence[int] = "uniform"
    attention_weight: float | Sequence[float] = 1.0
    hidden_weight: float | Sequence[float] = 1.0
    embedding_weight: float = 1.0
    prediction_weight: float = 0.0
    temperature: float = 1.0
    padding: str = "exclude"
    reduction: str = "batch"

    def __post_init__(self):
        for name in ("layers", "attention_weight", "hidden_weight"):  # Keras saves lists, not arrays or ranges
            if isinstance(value := getattr(self, name), np.ndarray | range):
                object.__setattr__(self, name, list(value) if isinstance(value, range) else value.tolist())
        if not isinstance(self.layers, str | Sequence):
            raise InputError(f"must be {', '.join(KINDS)}, or a list of teacher layers", "layers", self.layers)
        weights = ("attention_weight", "hidden_weight", "embedding_weight", "prediction_weight")
        for name in weights:
            _check_weight(name, getattr(self, name), may_be_several=name in weights[:2])
        if not any(_any(getattr(self, name)) for name in weights):
            raise InputError(f"all weights are 0: nothing would be learned; give one of {', '.join(weights)}")
        if not isinstance(self.temperature, numbers.Real) or not 0 < self.temperature < math.inf:
            raise InputError("must be above 0 and finite", "temperature", self.temperature)
        for name, choices in (("padding", losses.PADDINGS), ("reduction", losses.REDUCTIONS)):
            if getattr(self, name) not in choices:
                raise InputError(f"must be {' or '.join(choices)}", name, repr(getattr(self, name)))

    @classmethod
    def intermediate(cls, **settings) -> "TinyBertObjective":
        """Stage 1, and the first half of stage 2: attention, hidden and embedding losses."""
        return cls(**settings)

    @classmethod
    def prediction(cls, **settings) -> "TinyBertObjective":
        """The second half of stage 2: the prediction loss alone."""
        off = {"attention_weight": 0.0, "hidden_weight": 0.0, "embedding_weight": 0.0, "prediction_weight": 1.0}
        return cls(**(off | settings))

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: networks that cannot be matched, with the remedies.
        """
        rows = []
        if _any(self.attention_weight) or _any(self.hidden_weight) or self.embedding_weight:
            rows += self._layer_matches(student, teacher)
        if self.prediction_weight:
            rows.append(self._prediction_match(head_of(student)))
        return rows

    def _layer_matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        for network in (student, teacher):
            if not isinstance(network, BertModel):
                raise InputError(
                    f"the attention, hidden and embedding losses read layers of a BertModel, which {describe(network)} is "
                    "not; take TinyBertObjective.prediction(), or copy.deepcopy(model) for a copy by keras.models.clone_model"
                )
        depth = student.config.num_hidden_layers
        attention, hidden = (self._per_layer(name, depth) for name in ("attention_weight", "hidden_weight"))
        heads = student.config.num_attention_heads, teacher.config.num_attention_heads
        if any(attention) and heads[0] != heads[1]:
            raise InputError(
                f"the student has {heads[0]} attention heads and the teacher {heads[1]}: their attention logits cannot be "
                f"matched head by head; build the student with `num_attention_heads={heads[1]}` or leave the term out with "
                "`attention_weight=0`"
            )
        mapped = (0,) * depth
        if any(attention) or any(hidden):
            mapped = layer_map(self.layers, depth, teacher.config.num_hidden_layers)
        pairs, tokens = ("rows", "rows") if self.padding == "reference" else ("pairs", "tokens")
        logits_loss = functools.partial(_attention, padding=self.padding)

        def attention_match(m: int, n: int) -> Match:
            names = f"attention_logits/{m - 1}", f"attention_logits/{n - 1}"
            return Match("attention_loss", logits_loss, *names, attention[m - 1], pairs)

        def state_match(term: str, m: int, n: int, weight: float) -> Match:
            return Match(term, _states, f"hidden_states/{m}", f"hidden_states/{n}", weight, tokens, project=True)

        layers = list(enumerate(mapped, 1))
        return [
            *(attention_match(m, n) for m, n in layers),
            *(state_match("hidden_loss", m, n, hidden[m - 1]) for m, n in layers),
            state_match("embedding_loss", 0, 0, self.embedding_weight),
        ]

    def _prediction_match(self, head: str) -> Match:
        if head == "regression":
            loss = _scores
        elif head == "span":
            loss = functools.partial(_spans, temperature=self.temperature)
        else:
            loss = functools.partial(_predictions, temperature=self.temperature, reduction=self.reduction)
        over = {"token_classification": "words", "masked_lm": "tokens"}.get(head, "rows")
        return Match("prediction_loss", loss, "logits", "logits", self.prediction_weight, over)

    def _per_layer(self, name: str, layers: int) -> tuple[float, ...]:
        given = getattr(self, name)
        if isinstance(given, numbers.Real):
            return (given,) * layers
        if len(given) != layers:
            raise InputError(f"needs one number, or one for each of {layers} layers", name, list(given))
        return tuple(given)


@serializable
@dataclasses.dataclass(frozen=True)
class HardLabels:
    """The loss of the labels themselves, to be mixed with a teacher's (Hinton et al. 2015, section 2).

    >>> objective = [TinyBertObjective.prediction(), HardLabels(weight=0.5)]

    Attributes:
        weight: beside those of the other terms.
    """

    weight: float = 1.0

    def __post_init__(self):
        _check_weight("weight", self.weight)

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks."""
        head = head_of(student)
        over = "words" if head in ("token_classification", "masked_lm") else "rows"
        return [Match("label_loss", functools.partial(_labels, head=head), "logits", None, self.weight, over)]


def _attention(student, teacher, batch: Batch, padding: str):
    return losses.attention_values(student, teacher, padding)


def _states(student, teacher, batch: Batch):
    return losses.hidden_values(student, teacher)


def _predictions(student, teacher, batch: Batch, temperature: float, reduction: str):
    return losses.prediction_values(student, teacher, temperature, reduction)


def _scores(student, teacher, batch: Batch):
    return losses.regression_values(student, teacher)


def _spans(student, teacher, batch: Batch, temperature: float):
    return losses.span_values(student, teacher, batch.mask, temperature)


def _labels(student, teacher, batch: Batch, head: str):
    if batch.labels is None:
        raise InputError(
            "the loss of the labels needs them: give batches (features, labels) or (features, labels, weight)"
        )
    return losses.label_values(batch.labels, student, head)


def _any(weight: float | Sequence[float]) -> bool:
    return any(weight) if isinstance(weight, Sequence) else bool(weight)


def _check_weight(name: str, value: float | Sequence[float], may_be_several: bool = False) -> None:
    several = may_be_several and isinstance(value, Sequence) and not isinstance(value, str)
    for number in value if several else (value,):
        if not isinstance(number, numbers.Real) or not 0 <= number < math.inf:
            raise InputError("must be a number of at least 0", name, value)
