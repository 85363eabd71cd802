"""The data of a task, from files, from TensorFlow Datasets or from the user."""

from collections.abc import Sequence
from pathlib import Path

from tinybert_tf.data.conll import load_conll
from tinybert_tf.data.custom import CustomFiles, load_custom
from tinybert_tf.data.glue import glue_split
from tinybert_tf.data.sample import sample_split
from tinybert_tf.data.split import TaskData
from tinybert_tf.data.squad import squad_split
from tinybert_tf.data.tasks import CUSTOM_TASKS, get_task
from tinybert_tf.data.tfds import tfds_split


def load_task(
    name: str,
    data_dir: str | Path | None = None,
    files: CustomFiles | None = None,
    labels: Sequence[str] | None = None,
) -> TaskData:
    """The data of a task.

    Args:
        name: see `TASKS`; "sample" is the built-in set, which needs no files; "custom" and "token_classification" are the
            user's own.
        data_dir: a folder in GLUE's layout (`CoLA/train.tsv`, ...), or the task's own folder in it; or a folder that
            TensorFlow Datasets has prepared (`glue/cola/2.0.0`, ...). Without it the data comes from TensorFlow Datasets,
            which may fetch it. For "sample", a folder that holds it augmented.
        files: of a custom task; settings that inherit from `CustomFiles` will do.
        labels: of a custom task, in the order of their ids, where there is no training file to collect them from.

    Raises:
        InputError: an unknown task, or (once a split is asked for) a missing or malformed file.
    """
    if name in CUSTOM_TASKS:
        load = load_custom if name == "custom" else load_conll
        return load(files or CustomFiles(), labels)
    task = get_task(name)
    if task.name == "sample" and data_dir is None:
        return TaskData(task, sample_split)
    if task.kind == "span":
        return TaskData(task, lambda split: squad_split(task, data_dir, split))
    if data_dir is None or (task.tfds and (Path(data_dir) / task.tfds).is_dir()):
        return TaskData(task, lambda split: tfds_split(task, split, data_dir))
    return TaskData(task, lambda split: glue_split(task, data_dir, split))
