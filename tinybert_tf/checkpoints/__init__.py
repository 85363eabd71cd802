"""Reading and writing weights: model directories, checkpoints of other libraries, presets."""

from tinybert_tf.checkpoints.huggingface import save_model
from tinybert_tf.checkpoints.load import load_model, read_config
from tinybert_tf.checkpoints.projections import read_projections, write_projections
from tinybert_tf.checkpoints.weights import LoadReport
from tinybert_tf.presets import resolve_directory

__all__ = [
    "LoadReport",
    "load_model",
    "read_config",
    "read_projections",
    "resolve_directory",
    "save_model",
    "write_projections",
]
