"""TinyBERT's intermediate losses with a layer map in a variable, so that one compiled step serves many maps."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tinybert_tf.distill.batch import Batch
from tinybert_tf.distill.objectives import Loss, Match, TinyBertObjective


class ChosenMapObjective:
    """A `TinyBertObjective` whose layer map can be changed between two steps.

    >>> import tinybert_tf as tb
    >>> objective = ChosenMapObjective(tb.TinyBertObjective(layers=[2, 4]))
    >>> objective.choose([1, 3])

    The teacher computes all its layers.

    Args:
        objective: has the weights of the terms, and in `layers` the first map, a list of teacher layers counted from 1.
    """

    def __init__(self, objective: TinyBertObjective):
        self.objective, self.padding = objective, objective.padding
        self._layers = tf.Variable(objective.layers, dtype=tf.int32, trainable=False, name="layer_map")

    def choose(self, layers: Sequence[int]) -> None:
        """Sets the map: a teacher layer, counted from 1, for each student layer."""
        self._layers.assign(layers)

    def matches(self, student: keras.Model, teacher: keras.Model) -> list[Match]:
        """The table of two networks.

        Raises:
            InputError: networks that TinyBERT's losses cannot match.
        """
        count = teacher.config.num_hidden_layers
        outputs = {
            "attention_loss": tuple(f"attention_logits/{number}" for number in range(count)),
            "hidden_loss": tuple(f"hidden_states/{number}" for number in range(1, count + 1)),
        }
        rows, seen = [], dict.fromkeys(outputs, 0)
        for row in self.objective.matches(student, teacher):
            if row.term in outputs:  # in the order of the student's layers
                loss = _of_chosen(row.loss, self._layers, seen[row.term])
                seen[row.term] += 1
                row = Match(row.term, loss, row.student, outputs[row.term], row.weight, row.over, row.project)
            rows.append(row)
        return rows


def _of_chosen(loss: Loss, layers: tf.Variable, index: int) -> Loss:
    """A loss between an output of the student's layer `index` and that of the teacher's layer which the map has for it."""

    def values(student, teacher, batch: Batch) -> tf.Tensor:
        target = tf.switch_case(layers[index] - 1, [lambda output=output: output for output in teacher])
        return loss(student, target, batch=batch)

    return values
