"""Distillation: objectives, losses, and the Keras model that trains a student with them."""

from tinybert_tf.distill import losses, objectives
from tinybert_tf.distill.distiller import Distiller
from tinybert_tf.distill.initialization import initialize_student
from tinybert_tf.distill.layer_map import layer_map
from tinybert_tf.distill.objectives import Match, TinyBertObjective
from tinybert_tf.distill.pair import check_inputs, check_pair, check_vocabulary

__all__ = [
    "Distiller",
    "Match",
    "TinyBertObjective",
    "check_inputs",
    "check_pair",
    "check_vocabulary",
    "initialize_student",
    "layer_map",
    "losses",
    "objectives",
]
