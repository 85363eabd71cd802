"""The Keras model that trains a student on its teacher."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints.projections import Projection, write_projections
from tinybert_tf.distill.objective import Reads, TinyBertObjective
from tinybert_tf.distribution import all_reduce_sum
from tinybert_tf.errors import InputError


class Distiller(keras.Model):
    """Trains `student` to match `teacher` under `objective`; used like any Keras model.

    ```python
    distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.intermediate())
    distiller.compile(optimizer="adam")
    distiller.fit(dataset)  # of (features, label, weight), or of features alone
    tb.save_model(distiller.student, "student")
    ```

    The teacher is frozen, in inference mode (no dropout), and computes only what the objective reads. Its dtype policy is
    its own: a teacher in bfloat16 beside a float32 student is the fast choice on hardware that has it.

    Attributes:
        student: the network that is trained; saved on its own.
        projections: a dense layer for each hidden state that is matched (index 0 = embeddings): the paper's W_e and W_h,
            with a bias as in the published checkpoints. Where both networks are equally wide they start as the identity.

    Args:
        teacher: a `BertModel`.
        student: a `BertModel`.
        objective: a `TinyBertObjective`.
        projections: starting values (kernel, bias), one for each of the student's hidden states; random by default.

    Raises:
        InputError: networks that the objective cannot match.
    """

    def __init__(
        self,
        teacher: BertModel,
        student: BertModel,
        objective: TinyBertObjective | None = None,
        projections: Sequence[Projection] | None = None,
        name: str = "distiller",
    ):
        super().__init__(name=name)
        self.objective = objective or TinyBertObjective()
        self.objective.check(student.config, teacher.config)
        teacher.trainable = False
        self.teacher = teacher
        self.student = student
        self._student_reads = self.objective.student_reads(student.config)
        self._teacher_outputs = _only(teacher, self.objective.teacher_reads(student.config, teacher.config))
        self._student_outputs = _only(student, self._student_reads, with_logits=True)
        self.projections = _build_projections(student.config, teacher.config, self._student_reads, projections)
        self.term_trackers = {name: keras.metrics.Mean(name=name) for name in _terms(self._student_reads)}
        self.built = True

    def compile(
        self,
        optimizer="adam",
        jit_compile: bool | None = None,
        accumulation_steps: int = 1,
        student_dropout: bool = False,
        **kwargs,
    ):
        """As `keras.Model.compile`, without a loss: the objective is the loss. `metrics` see the student's logits.

        XLA is on by default only where there is an accelerator: on CPU it gains nothing and loses bfloat16 products.

        Args:
            accumulation_steps: parts that a batch is computed in, one after the other, to save memory. The update is that
                of the whole batch, however unevenly its tokens are spread. Must divide the rows of a replica's batch.
            student_dropout: whether the student's dropout is on, as in the published code. Off, it comes nearer to its
                teacher: dropout's noise is most of the distillation loss once the two are close.
        """
        if "loss" in kwargs:
            raise ValueError("Distiller.compile takes no loss: the objective given to Distiller is the loss")
        if jit_compile is None:
            jit_compile = bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
        self.accumulation_steps = accumulation_steps
        self.student_dropout = student_dropout
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def call(self, inputs, training=False):
        """The student's logits, or for a student without a task its last hidden state."""
        outputs = self._student_outputs(inputs, training=training)
        return outputs["logits"] if "logits" in outputs else self.student(inputs, training=training)["sequence_output"]

    def train_step(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(data)
        if self.accumulation_steps == 1:
            gradients, loss, terms = self._gradients(*batch)
        else:
            gradients, loss, terms = self._accumulated_gradients(*batch)
        # What the objective does not reach (the classifier, during the intermediate stage) has no gradient.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        return self._track(loss, terms, *batch)

    def test_step(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(data)
        loss, terms = self._forward(*batch, training=False)
        return self._track(loss, terms, *batch)

    def measure(self, data):
        """(means, rows): the loss and its terms over one whole batch, and how many rows it holds.

        For scoring outside of a strategy's replicas, as `predict_on_batch` is outside of `fit`; no metric sees the batch.
        """
        features, _, weight = keras.utils.unpack_x_y_sample_weight(data)
        student = self._student_outputs(features, training=False)
        teacher = self._teacher_outputs(features, training=False)
        loss, terms = self._loss(student, teacher, features, weight)
        return {"loss": loss, **terms}, _rows(features, weight)

    def _forward(self, features, label, weight, counts=None, training=False):
        """(loss, terms) of a batch; the compiled metrics see its logits."""
        teacher = self._teacher_outputs(features, training=False)
        student = self._student_outputs(features, training=training)
        if label is not None and "logits" in student:
            self.compute_metrics(features, label, student["logits"], sample_weight=weight)
        return self._loss(student, teacher, features, weight, counts)

    def _gradients(self, features, label, weight, counts=None):
        with tf.GradientTape() as tape:
            loss, terms = self._forward(features, label, weight, counts, training=self.student_dropout)
            scaled = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled, self.trainable_variables), loss, terms

    def _accumulated_gradients(self, features, label, weight):
        """`_gradients` of a batch, computed in parts that add up to it."""
        split = lambda tensor: None if tensor is None else tf.stack(tf.split(tensor, self.accumulation_steps))
        parts = ({name: split(tensor) for name, tensor in features.items()}, split(label), split(weight))
        counts = self._counts(features, weight)

        def sums(index):
            part = tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[index], parts)
            gradients, loss, terms = self._gradients(*part, counts)
            return [None if g is None else tf.convert_to_tensor(g) for g in gradients], loss, terms

        # The first part shows which variables have a gradient.
        gradients, loss, terms = sums(0)
        reached = [index for index, gradient in enumerate(gradients) if gradient is not None]

        def add(index, so_far):
            gradients, loss, terms = sums(index)
            part = ([gradients[i] for i in reached], loss, terms)
            return index + 1, tf.nest.map_structure(tf.add, so_far, part)

        _, (added, loss, terms) = tf.while_loop(
            lambda index, _: index < self.accumulation_steps,
            add,
            (1, ([gradients[i] for i in reached], loss, terms)),
            parallel_iterations=1,
        )
        for index, gradient in zip(reached, added, strict=True):
            gradients[index] = gradient
        return gradients, loss, terms

    def _counts(self, features, weight):
        """What the parts of each term are divided by, over the global batch. It depends on the mask and on the shapes, so
        states of zeros show it."""
        batch, seq = tf.unstack(tf.shape(features["input_mask"]))

        def zeros(output):
            return tf.zeros([batch, *(seq if size is None else size for size in output.shape[1:])])

        states = tf.nest.map_structure(zeros, self._teacher_outputs.output)
        terms = self.objective(states, states, features["input_mask"], weight, *self._kind())
        return _global_counts(terms)

    def _kind(self):
        return self.student.config, self.student.head

    def _loss(self, student, teacher, features, weight, counts=None):
        """This replica's shares of the global batch's loss, and of its terms without their weights, summed over layers."""
        projected = dict(student)
        if self._student_reads.hidden_states:
            projected["hidden_states"] = [
                self.projections[str(index)](state)
                for index, state in zip(self._student_reads.hidden_states, student["hidden_states"], strict=True)
            ]
        terms = self.objective(projected, teacher, features["input_mask"], weight, *self._kind())
        counts = counts or _global_counts(terms)
        loss, means = tf.zeros(()), {}
        for name, parts in terms.items():
            layers = [tf.math.divide_no_nan(part[1], count) for part, count in zip(parts, counts[name], strict=True)]
            means[name] = tf.add_n(layers)
            loss += tf.add_n([part[0] * layer for part, layer in zip(parts, layers, strict=True)])
        return loss, means

    def _track(self, loss, terms, features, label, weight):
        # The global batch's rows: replicas whose rows count differently still hold equal shares of one loss.
        rows = all_reduce_sum(_rows(features, weight))
        # Replica shares of the loss add up to it; a mean over replicas has to undo that.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=rows)
        for name, term in terms.items():
            self.term_trackers[name].update_state(term * replicas, sample_weight=rows)
        return self.get_metrics_result()

    def save_projections(self, directory: str | Path) -> None:
        """Writes `distill.safetensors` beside a saved student; hidden states that are not matched get no entry."""
        found = {int(index): (p.kernel.numpy(), p.bias.numpy()) for index, p in self.projections.items()}
        write_projections(found, directory)


def _rows(features, weight) -> tf.Tensor:
    rows = tf.shape(features["input_mask"])[0] if weight is None else tf.reduce_sum(weight)
    return tf.cast(rows, tf.float32)


def _terms(reads: Reads) -> list[str]:
    """The names of the loss terms that an objective with these reads has."""
    has = {
        "attention_loss": bool(reads.attention_logits),
        "hidden_loss": any(reads.hidden_states),
        "embedding_loss": 0 in reads.hidden_states,
        "prediction_loss": reads.logits,
    }
    return [name for name, present in has.items() if present]


def _only(model: BertModel, reads: Reads, with_logits: bool = False) -> keras.Model:
    """`model` reduced to what is read. Layers that nothing read depends on are not part of it."""
    outputs = {}
    if reads.hidden_states:
        outputs["hidden_states"] = [model.output["hidden_states"][index] for index in reads.hidden_states]
    if reads.attention_logits:
        outputs["attention_logits"] = [model.output["attention_logits"][index] for index in reads.attention_logits]
    if reads.logits and "logits" not in model.output:
        raise InputError(
            f"the prediction loss needs logits, but a model has the head {model.head!r}; load it with a task head"
        )
    if reads.logits or (with_logits and "logits" in model.output):
        outputs["logits"] = model.output["logits"]
    return keras.Model(model.input, outputs, name=f"{model.name}_read")


def _build_projections(student, teacher, reads: Reads, values) -> dict[str, keras.layers.Dense]:
    same = student.hidden_size == teacher.hidden_size
    projections = {}
    for index in reads.hidden_states:
        layer = keras.layers.Dense(
            teacher.hidden_size,
            kernel_initializer="identity" if same else keras.initializers.TruncatedNormal(stddev=0.02),
            name=f"projection_{index}",
            dtype="float32",
        )
        layer.build((None, None, student.hidden_size))
        if values is not None:
            layer.set_weights(values[index])
        projections[str(index)] = layer
    return projections


def _global_counts(terms) -> dict[str, list[tf.Tensor]]:
    """The denominators of an objective's terms, over all replicas."""
    return {name: [all_reduce_sum(count) for _, _, count in parts] for name, parts in terms.items()}
