"""Distillation: what to match, how to measure it, and the model that trains on it."""

from tinybert_tf.distill import losses
from tinybert_tf.distill.distiller import Distiller
from tinybert_tf.distill.initialization import initialise_student
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.distill.objective import TinyBertObjective

__all__ = ["Distiller", "TinyBertObjective", "initialise_student", "layer_map", "losses"]
