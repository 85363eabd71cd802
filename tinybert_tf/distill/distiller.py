"""The Keras model that trains a student on its teacher."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tinybert_tf.bert import whole_network
from tinybert_tf.checkpoints.projections import Projection, write_projections
from tinybert_tf.distill import losses
from tinybert_tf.distill.batch import Batch
from tinybert_tf.distill.networks import Reader, input_of, is_functional, output, precomputed, reader
from tinybert_tf.distill.objectives import Match, Objective, TinyBertObjective, table
from tinybert_tf.distill.pair import check_pair, label_order
from tinybert_tf.distill.projecting import names_of, projection_key, projections_for
from tinybert_tf.distribution import all_reduce_sum, logs_per_worker, several_workers
from tinybert_tf.errors import InputError

_TEACHER_WEIGHTS = "teacher.weights.h5"
_PARTS = "parts"


@keras.saving.register_keras_serializable(package="tinybert_tf")
class Distiller(keras.Model):
    """Trains `student` to match `teacher` under `objective`; used like any Keras model.

    >>> import numpy as np
    >>> import tinybert_tf as tb
    >>> sizes = {"vocab_size": 30, "num_attention_heads": 2, "intermediate_size": 16, "label2id": {"no": 0, "yes": 1}}
    >>> teacher = tb.build_model(tb.BertConfig(num_hidden_layers=4, hidden_size=12, **sizes), head="classification")
    >>> student = tb.build_model(tb.BertConfig(num_hidden_layers=2, hidden_size=8, **sizes), head="classification")
    >>> ids = np.random.randint(1, 30, (4, 6))
    >>> features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
    >>> distiller = tb.Distiller(teacher, student, tb.TinyBertObjective.intermediate())
    >>> distiller.compile(optimizer=tb.bert_adamw(1e-4, total_steps=10))
    >>> history = distiller.fit(features, verbose=0)  # or a dataset of (features, labels, weights)
    >>> sorted(history.history)
    ['attention_loss', 'embedding_loss', 'hidden_loss', 'loss']

    The teacher is frozen, in inference mode (no dropout), and computes only what the objective reads. Its dtype policy is
    its own: a teacher in bfloat16 beside a float32 student is the fast choice on hardware that has it. Its classes are
    matched with the student's by name; labels in the data have the student's ids.

    It is not `keras.distillation.Distiller`, which supports neither masks nor projections nor example weights and always
    computes the whole teacher. `save("x.keras")` includes the teacher; `save_weights` stores only what is trained.

    Args:
        teacher: a `BertModel`, or for objectives that read its logits alone any Keras model that gives logits, such as KerasHub's
            `BertTextClassifier`; a functional one may also end in a softmax. Its inputs are found in the features by name.
        student: a `BertModel` or any Keras model with logits, whose inputs are found in the same way.
        objective: a `TinyBertObjective`, another object with `matches`, a `Match`, or a list of them, see
            `tinybert_tf.distill.objectives`. The default, `TinyBertObjective()`, compares layers and does not train the head.
        projections: starting values (kernel [student width, teacher width], bias), one for each of the student's hidden
            states, the embedding output first; random by default, and the identity between networks of equal width. Those of
            states that the objective does not match are not read.
        name: of the model.
        dtype: dtype policy, by default the student's; under "mixed_float16" Keras scales the loss.

    Attributes:
        student: the network that is trained; saved on its own.
        matches: the table that the objective is for these two networks.
        projections: a dense layer for each hidden state that is matched (index 0 = embeddings): the paper's W_e and W_h,
            with a bias as in the published checkpoints.

    Raises:
        InputError: networks that the objective cannot match, or that do not belong together; see `check_pair`.
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        objective: "Objective | Match | Sequence[Objective | Match] | None" = None,
        projections: Sequence[Projection] | None = None,
        name: str = "distiller",
        dtype: Any = None,
        **kwargs,
    ):
        student, teacher = whole_network(student), whole_network(teacher)
        check_pair(student, teacher, reads_logits=False)
        super().__init__(name=name, dtype=dtype or student.dtype_policy, **kwargs)
        objective = TinyBertObjective() if objective is None else objective
        matches = table(objective, student, teacher)
        compares_logits = any("logits" in names_of(m.student) and "logits" in names_of(m.teacher) for m in matches)
        check_pair(student, teacher, reads_logits=compares_logits)
        teacher.trainable = False
        self.student = student
        # Hidden from Keras' attribute tracking: the teacher's layers are not part of what is trained.
        self._frozen = _Frozen(
            teacher,
            reader(teacher, _read_by(m.teacher for m in matches)),
            label_order(student, teacher) if compares_logits else None,
            reader(student, _read_by([*(m.student for m in matches), *_own_output(student)])),
        )
        self.objective = objective
        self.matches = matches
        self.projections = projections_for(student, teacher, matches, projections)
        self.learned_losses = [m.loss for m in matches if isinstance(m.loss, keras.Layer)]
        self.term_trackers = {term: keras.metrics.Mean(name=term) for term in dict.fromkeys(m.term for m in matches)}
        self.built = True

    @property
    def teacher(self) -> keras.Model:
        """The network that is learned from."""
        return self._frozen.teacher

    @property
    def teacher_reader(self) -> Reader:
        """The part of the teacher that the objective reads. A feature named `teacher/OUTPUT` replaces that output."""
        return self._frozen.teacher_reader

    def __dir__(self):
        # Keras saves the weights of all attributes listed here; the teacher's do not change.
        return [name for name in super().__dir__() if name != "teacher"]

    def compile(
        self,
        optimizer="adam",
        loss=None,
        *,
        jit_compile: bool | None = None,
        accumulation_steps: int = 1,
        student_dropout: bool = False,
        **kwargs,
    ):
        """As `keras.Model.compile`, without a loss: the objective is the loss. `metrics` see the student's logits.

        Terms over tokens are means over the tokens of a batch, and an epoch's are means of those, as of Keras' masked losses: how
        rows are batched changes the logged terms slightly.

        XLA is on by default only where there is an accelerator: on CPU it gains nothing and loses bfloat16 products.

        Args:
            optimizer: of Keras, or `bert_adamw(...)`.
            loss: None.
            jit_compile: whether XLA compiles the step.
            accumulation_steps: parts that a batch is computed in, one after the other, to save memory. The update is that
                of the whole batch, however unevenly its tokens are spread.
            student_dropout: whether the student runs in training mode, that is with dropout, as in the published code. Without
                it the student gets closer: late in training most of the loss is dropout noise.
            **kwargs: further arguments of `keras.Model.compile`, such as `metrics` or `weighted_metrics`.

        Raises:
            InputError: a loss or weights of losses, fewer than one part, metrics of a student without a task, or a student with
                batch normalization that is not in training mode.
        """
        if loss is not None:
            raise InputError("takes no loss: the objective given to Distiller is the loss", "Distiller.compile")
        if kwargs.get("loss_weights") is not None:
            raise InputError("are those of the objective's terms; set them there", "loss_weights")
        if (kwargs.get("metrics") or kwargs.get("weighted_metrics")) and _own_output(self.student) != ("logits",):
            raise InputError("see the student's logits, and it has none; leave them out", "metrics")
        if not isinstance(accumulation_steps, int) or accumulation_steps < 1:
            raise InputError("must be an integer of at least 1", "accumulation_steps", accumulation_steps)
        if jit_compile is None:
            jit_compile = bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
        if not student_dropout and any(_is_updated_in_training(layer) for layer in self.student._flatten_layers()):
            raise InputError(
                "the student has batch normalization, whose means are updated in training mode only; set it",
                "student_dropout",
                False,
            )
        self.accumulation_steps = accumulation_steps
        self.student_dropout = student_dropout
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)

    def call(self, inputs, training=False):
        """The student's logits (log-probabilities of a student that ends in a softmax), or for a student without a task its
        last hidden state.
        """
        outputs = self._frozen.read_student(inputs, training)
        return outputs[_own_output(self.student)[0]]

    # === Training and evaluation ===

    def train_step(self, data):
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        if self.accumulation_steps == 1:
            gradients, loss, terms, logits = self._gradients(batch, self._counts(batch))
        else:
            gradients, loss, terms, logits = self._accumulated_gradients(batch)
        # What the objective does not reach (the classifier, during the intermediate stage) has no gradient.
        reached = [(g, v) for g, v in zip(gradients, self.trainable_variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(reached)
        return self._track(loss, terms, logits, batch)

    def test_step(self, data):
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        return self._track(*self._forward(batch, self._counts(batch)), batch)

    def measure(self, data):
        """(means, rows): the loss and its terms over one whole batch, and how many rows it holds.

        For scoring outside of a strategy's replicas, as `predict_on_batch` is outside of `fit`; no metric sees the batch.
        """
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        loss, terms, _ = self._forward(batch, self._counts(batch))
        return {"loss": loss, **terms}, _total_weight(batch)

    def _counts(self, batch: Batch, parts: int = 1) -> dict[str, tf.Tensor | float]:
        """The denominators of the means over the global batch, for each kind of mean, and the number of its parts."""
        kinds = dict.fromkeys(match.over for match in self.matches)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        counts = {over: all_reduce_sum(tf.reduce_sum(batch.weights(over))) for over in kinds}
        return counts | {_PARTS: float(replicas * parts)}

    def _forward(self, batch: Batch, counts, training=False):
        """(loss, terms, logits): this part's shares of the global batch's loss and of its terms, and its logits if any.

        A term is unweighted and summed over its rows of the table.
        """
        teacher = self._frozen.read_teacher(batch.features)
        student = self._frozen.read_student(batch.features, training)
        loss, terms = tf.zeros(()), {}
        for match in self.matches:
            state = _pick(student, match.student)
            if match.project:
                state = self.projections[projection_key(match.student, self.student)](state)
            values = match.loss(state, _pick(teacher, match.teacher), batch=batch)
            total = losses.mean(values, batch.weights(match.over)).total
            share = tf.math.divide_no_nan(total, counts[match.over])
            terms[match.term] = terms.get(match.term, 0.0) + share
            loss += match.weight * share
        if self.student.losses:  # of its regularizers: each part of the global batch takes its share
            loss += tf.cast(tf.add_n(self.student.losses), tf.float32) / counts[_PARTS]
        return loss, terms, student.get("logits")

    def _gradients(self, batch: Batch, counts):
        with tf.GradientTape() as tape:
            loss, terms, logits = self._forward(batch, counts, training=self.student_dropout)
            scaled = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled, self.trainable_variables), loss, terms, logits

    def _accumulated_gradients(self, batch: Batch):
        """`_gradients` of a batch, computed in parts that add up to it."""
        counts = self._counts(batch, self.accumulation_steps)
        parts = batch.in_parts(self.accumulation_steps)

        def part(index):
            of_part = tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[index], parts)
            gradients, loss, terms, logits = self._gradients(Batch(*of_part), counts)
            gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
            return gradients, loss, terms, None if batch.labels is None else logits

        # The first part shows which variables have a gradient.
        gradients, loss, terms, logits = part(0)
        reached = [index for index, gradient in enumerate(gradients) if gradient is not None]
        collected = []
        if logits is not None:
            array = tf.TensorArray(logits.dtype, self.accumulation_steps, element_shape=logits.shape)
            collected = [array.write(0, logits)]

        def add(index, so_far, collected):
            gradients, loss, terms, logits = part(index)
            sums = tf.nest.map_structure(tf.add, so_far, ([gradients[i] for i in reached], loss, terms))
            return index + 1, sums, [array.write(index, logits) for array in collected]

        _, (added, loss, terms), collected = tf.while_loop(
            lambda index, *_: index < self.accumulation_steps,
            add,
            (1, ([gradients[i] for i in reached], loss, terms), collected),
            parallel_iterations=1,
        )
        for index, gradient in zip(reached, added, strict=True):
            gradients[index] = gradient
        if collected:
            stacked = collected[0].stack()
            logits = tf.reshape(stacked, [-1, *tf.unstack(tf.shape(stacked))[2:]])[: batch.rows]
        return gradients, loss, terms, logits

    def _track(self, loss, terms, logits, batch: Batch):
        if batch.labels is None and self._compile_metrics is not None:
            raise InputError("need labels: give (features, labels), or leave the metrics out", "metrics")
        if batch.labels is not None and logits is not None:
            self.compute_metrics(batch.features, batch.labels, logits, sample_weight=batch.weight)
        # The global batch's rows: replicas whose rows count differently still hold equal shares of one loss.
        rows = all_reduce_sum(_total_weight(batch))
        # Replica shares of the loss add up to it; a mean over replicas has to undo that.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=rows)
        for name, term in terms.items():
            self.term_trackers[name].update_state(term * replicas, sample_weight=rows)
        return logs_per_worker(self.get_metrics_result())

    def _maybe_symbolic_build(self, **data):
        """Creates the variables of optimizer and metrics before the step is traced: creating them on replicas fails."""
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        # Keras draws a batch for it, which it cannot read with several workers, and whose rows must be equally many on each
        # replica; it is needed for the variables of metrics alone.
        is_one = self.distribute_strategy.num_replicas_in_sync == 1
        if not several_workers() and (is_one or self._compile_metrics is not None):
            super()._maybe_symbolic_build(**data)

    # === Saving ===

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        parts = {"teacher": self.teacher, "student": self.student, "objective": self.objective}
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            **{key: serialize(part) for key, part in parts.items()},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        deserialize = keras.saving.deserialize_keras_object
        parts = {key: deserialize(config[key], custom_objects) for key in ("teacher", "student", "objective")}
        return cls(**(config | parts))

    def get_compile_config(self):
        if not self.compiled:
            return super().get_compile_config()
        own = {"accumulation_steps": self.accumulation_steps, "student_dropout": self.student_dropout}
        return super().get_compile_config() | own

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def save_assets(self, dir_path: str) -> None:
        """Called by `save`, not by `save_weights`: only the whole model includes the teacher."""
        self.teacher.save_weights(Path(dir_path) / _TEACHER_WEIGHTS)

    def load_assets(self, dir_path: str) -> None:
        self.teacher.load_weights(Path(dir_path) / _TEACHER_WEIGHTS)

    def export(self, filepath: str | Path, **options) -> None:
        """Exports the student as a SavedModel or in another of Keras' formats; see `keras.Model.export`."""
        name = _own_output(self.student)[0]
        whole = is_functional(self.student)
        answers = (
            keras.Model(input_of(self.student), output(self.student, name, as_logits=False)) if whole else self.student
        )
        answers.export(filepath, **options)

    def save_projections(self, directory: str | Path) -> None:
        """Writes `distill.safetensors` beside a saved student; hidden states that are not matched get no entry."""
        found = {
            int(index): (p.kernel.numpy(), p.bias.numpy()) for index, p in self.projections.items() if index.isdigit()
        }
        depth = getattr(getattr(self.student, "config", None), "num_hidden_layers", None)
        write_projections(found, directory, None if depth is None else depth + 1)


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """The teacher, and the submodels of both networks that the objective reads.

    Attributes:
        order: indices that put the teacher's logits into the order of the student's classes; None if the orders are equal.
    """

    teacher: keras.Model
    teacher_reader: Reader
    order: list[int] | None
    read_student: Reader

    def read_teacher(self, features) -> dict[str, tf.Tensor]:
        given = precomputed(features, self.teacher_reader)
        whole = len(given) == len(self.teacher_reader.names)
        outputs = given if whole else dict(self.teacher_reader(features)) | given
        if self.order is not None:
            outputs["logits"] = tf.gather(outputs["logits"], self.order, axis=-1)
        return outputs


def _read_by(outputs) -> list[str]:
    """The distinct output names in some rows."""
    return list(dict.fromkeys(name for named in outputs for name in names_of(named)))


def _pick(outputs: dict[str, tf.Tensor], named: str | tuple[str, ...] | None):
    if named is None or isinstance(named, str):
        return outputs.get(named)
    return tuple(outputs[name] for name in named)


def _own_output(student: keras.Model) -> tuple[str]:
    """The student's main output: its logits or its last hidden state."""
    return ("sequence_output",) if getattr(student, "head", None) == "encoder" else ("logits",)


def _is_updated_in_training(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def _total_weight(batch: Batch) -> tf.Tensor:
    return tf.cast(batch.rows, tf.float32) if batch.weight is None else tf.reduce_sum(tf.cast(batch.weight, tf.float32))
