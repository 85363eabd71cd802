"""Weights in and out."""

from tinybert_tf.checkpoints.huggingface import LoadReport, load_model, load_weights, read_config, save_model
from tinybert_tf.checkpoints.presets import resolve_directory
from tinybert_tf.checkpoints.projections import read_projections, write_projections

__all__ = [
    "LoadReport",
    "load_model",
    "load_weights",
    "read_config",
    "read_projections",
    "resolve_directory",
    "save_model",
    "write_projections",
]
