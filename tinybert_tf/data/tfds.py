"""GLUE from TensorFlow Datasets: the same rows in the same order as from the TSV files."""

from collections.abc import Iterator
from pathlib import Path

from tinybert_tf.data.glue import Example, Split
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError

# TensorFlow Datasets' split names for GLUE's file names.
_SPLITS = {
    "dev": "validation",
    "dev_matched": "validation_matched",
    "dev_mismatched": "validation_mismatched",
}
# Its feature names, where they differ from the columns of the TSV files.
_FEATURES = {"cola": ("sentence", None), "mrpc": ("sentence1", "sentence2"), "ax": ("premise", "hypothesis")}
_FEATURES["mnli"] = _FEATURES["ax"]


def tfds_split(task: Task, split: str, data_dir: str | Path | None = None) -> Split:
    """One split of a task; the rows are sorted by their index, since TensorFlow Datasets stores them shuffled.

    Args:
        task: the task.
        split: under the name of GLUE's file.
        data_dir: where the data is prepared, `glue/cola/2.0.0` and so on; by default TensorFlow Datasets' own folder.

    Raises:
        InputError: the data set is neither prepared here nor can be fetched.
    """
    import tensorflow_datasets

    name = _SPLITS.get(split, split)
    try:
        builder = tensorflow_datasets.builder(task.tfds, data_dir=data_dir)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=name)
    except Exception as error:  # every way to fail here (network, disk, unknown split) has the one remedy
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"TensorFlow Datasets cannot provide {split} of {task.tfds} ({reason}); give the files with --data_dir"
        ) from None
    text, text_pair = _FEATURES.get(task.name, (task.text, task.text_pair))

    def rows() -> Iterator[Example]:
        # MRPC's numbers are those of Microsoft's file, which holds train and dev: counted anew here.
        for index, row in enumerate(sorted(dataset.as_numpy_iterator(), key=lambda row: int(row["idx"]))):
            pair = None if text_pair is None else row[text_pair].decode("utf-8")
            yield Example(index, row[text].decode("utf-8"), pair, _label(task, row["label"], builder))

    return Split(split, task.tfds, rows)


def _label(task: Task, value, builder) -> str | None:
    if value < 0:
        return None
    if task.kind == "regression":
        return f"{value:.3f}"  # as in the file
    name = builder.info.features["label"].int2str(int(value))
    return name if name in task.labels else task.labels[task.label_names.index(name)]
