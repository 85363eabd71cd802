"""BERT-of-Theseus: Xu et al. 2020, "BERT-of-Theseus: Compressing BERT by Progressive Module Replacing", section 3."""

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.distill.pair import check_pair, label_order
from tinybert_tf.distill.rivals.checks import check_berts
from tinybert_tf.errors import InputError

# What a successor's layers and the shared embeddings need to be alike in.
_EQUAL_KEYS = (
    "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings", "type_vocab_size", "embedding_width",
    "relative_attention_num_buckets", "pooler_activation", "hidden_act", "classifier_activation",
)  # fmt: skip


def replacement_rate(step, base: float, steps: int):
    """The probability that a module is replaced (equation 7): from `base` linearly to 1 at `steps`, then 1.

    >>> [round(float(replacement_rate(step, 0.3, 100)), 2) for step in (0, 50, 100, 1000)]
    [0.3, 0.65, 1.0, 1.0]

    Args:
        step: number of the update, an int or a scalar tensor.
        base: rate at the first step, from 0 to 1.
        steps: updates until every module is replaced; the rest fine-tunes the successor alone.
    """
    return tf.minimum(1.0, base + (1.0 - base) * tf.cast(step, tf.float32) / max(1, steps))


@keras.saving.register_keras_serializable(package="tinybert_tf")
class Theseus(keras.Model):
    """Trains a successor's layers inside its predecessor, on labels alone.

    The predecessor's N layers are cut into M modules of N / M layers. At every step each module is replaced by the
    successor's layer with the scheduled probability; what is not replaced is frozen. Embeddings, pooler and classifier are
    the predecessor's, copied into the successor and frozen, as in the paper.

    Args:
        teacher: the predecessor, a `BertModel` with a task head.
        student: the successor, a `BertModel` of the same width; its embeddings, pooler and head are overwritten, its layers
            start as the first layer of each module.
        replacing_steps: updates until the replacement rate is 1.
        base_rate: replacement rate at the first step.

    Raises:
        InputError: networks that are not BERTs with a task head, another width, or layers that cannot be cut into modules.
    """

    def __init__(
        self,
        teacher: BertModel,
        student: BertModel,
        replacing_steps: int,
        base_rate: float = 0.5,
        name: str = "theseus",
    ):
        _check(teacher, student)
        if not 0 <= base_rate <= 1:
            raise InputError("must be from 0 to 1", "base_rate", base_rate)
        super().__init__(name=name, dtype=student.dtype_policy)
        size = len(teacher.transformer_layers) // len(student.transformer_layers)
        self.teacher, self.student = teacher, student
        self.replacing_steps, self.base_rate = replacing_steps, base_rate
        self.modules_of_teacher = [
            teacher.transformer_layers[first : first + size]
            for first in range(0, len(teacher.transformer_layers), size)
        ]
        _start_from(student, teacher, self.modules_of_teacher)
        teacher.trainable = False
        for layer in student.layers:
            layer.trainable = layer in student.transformer_layers
        self.random = keras.random.SeedGenerator()
        self.built = True

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        networks = {"teacher": serialize(self.teacher), "student": serialize(self.student)}
        return networks | {"replacing_steps": self.replacing_steps, "base_rate": self.base_rate, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        networks = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects) for key in ("teacher", "student")
        }
        return cls(**(config | networks))

    def call(self, inputs, training=False):
        """The successor's logits; in training those of the mixed network."""
        if not training:
            return self.student(inputs, training=False)["logits"]
        step = tf.cast(self.optimizer.iterations, tf.float32)
        rate = replacement_rate(step, self.base_rate, self.replacing_steps)
        draws = keras.random.uniform((len(self.modules_of_teacher),), seed=self.random) < rate
        hidden = self.student.embeddings(inputs["input_word_ids"], inputs["input_type_ids"], training=False)
        mask = self.student.get_layer("attention_mask")(inputs["input_mask"])
        if self.student.relative_attention_bias is not None:
            mask = self.student.relative_attention_bias(mask)
        for index, (module, successor) in enumerate(
            zip(self.modules_of_teacher, self.student.transformer_layers, strict=True)
        ):
            hidden = tf.cond(
                draws[index],
                lambda hidden=hidden, successor=successor: successor(hidden, mask, training=True)[0],
                lambda hidden=hidden, module=module: _run(module, hidden, mask),
            )
        classifies_text = self.student.head in ("classification", "regression")
        return self.student.head_layer(self.student.text_features(hidden) if classifies_text else hidden)

    def train_step(self, data):
        features, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            logits = self(features, training=True)
            loss = self.compute_loss(features, labels, logits, sample_weight=weight)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        # A layer that no draw has put into the network has a gradient of zero: tf.cond gives one for both branches.
        self.optimizer.apply_gradients((g, v) for g, v in zip(gradients, variables, strict=True) if g is not None)
        # Keras divides a replica's loss by the number of replicas; what is logged is the loss itself.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(labels)[0])
        return self.compute_metrics(features, labels, logits, sample_weight=weight)


def _run(module, hidden, mask):
    """The teacher's layers, in whatever precision they compute, between states of the student's precision."""
    dtype = hidden.dtype
    for layer in module:
        hidden = layer(hidden, mask, training=False)[0]
    return tf.cast(hidden, dtype)


def _check(teacher: keras.Model, student: keras.Model) -> None:
    check_berts("BERT-of-Theseus", student, teacher)
    if teacher.head_layer is None or student.head != teacher.head:
        raise InputError(
            f"the student has the head {student.head!r} and the teacher {teacher.head!r}; both need the same task head"
        )
    check_pair(student, teacher)
    if label_order(student, teacher) is not None:
        raise InputError(
            "the student has other ids for its labels than the teacher, whose head it takes over; build it with "
            "`label2id=teacher.config.label2id`"
        )
    if student.word_codes is not None:
        raise InputError(
            "the student's word table is coded, and would be replaced by the teacher's; give one that is not coded"
        )
    layers = student.config.num_hidden_layers, teacher.config.num_hidden_layers
    if layers[0] > layers[1]:
        raise InputError(
            f"the student has {layers[0]} layers, more than the teacher's {layers[1]}: it replaces modules of them"
        )
    if layers[1] % layers[0]:
        raise InputError(
            f"the teacher's {layers[1]} layers cannot be cut into {layers[0]} equal modules; build a student with a divisor of "
            f"{layers[1]} as `num_hidden_layers`"
        )
    for key in _EQUAL_KEYS:
        pair = getattr(student.config, key), getattr(teacher.config, key)
        if pair[0] != pair[1]:
            raise InputError(
                f"the student has {key}={pair[0]} and the teacher {pair[1]}: a module is replaced by a layer of the same width "
                f"and the embeddings are shared; build the student with `{key}={pair[1]}`"
            )


def _start_from(student: BertModel, teacher: BertModel, modules) -> None:
    pairs = [(student.embeddings, teacher.embeddings), (student.pooler, teacher.pooler)]
    pairs.append((student.head_layer, teacher.head_layer))
    if student.relative_attention_bias is not None:
        pairs.append((student.relative_attention_bias, teacher.relative_attention_bias))
    if student.config.intermediate_size == teacher.config.intermediate_size:
        pairs += [(layer, module[0]) for layer, module in zip(student.transformer_layers, modules, strict=True)]
    for layer, source in pairs:
        layer.set_weights(source.get_weights())
