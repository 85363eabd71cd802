"""A marker beside weights that were trained with a file's rounding: the exporter must keep their grid."""

from pathlib import Path

from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, write_json

FILE_NAME = "quantization.json"
# The modes that weights can be trained for. Other modes hardly round them.
MODES = ("int8", "int4_embeddings", "int4")


def write_grid(mode: str, directory: str | Path) -> None:
    """Records in a model directory that its weights are multiples of the scales of a file of this mode."""
    write_json(Path(directory) / FILE_NAME, {"quantize_aware": mode})


def read_grid(directory: str | Path) -> str | None:
    """The mode of the file that the weights of a model directory were trained for; None for any."""
    path = Path(directory) / FILE_NAME
    mode = read_json_object(path).get("quantize_aware") if path.is_file() else None
    if mode not in (None, *MODES):
        raise InputError(f"{path}: quantize_aware={mode!r}; must be one of {', '.join(MODES)}")
    return mode
