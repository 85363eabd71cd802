"""GLUE from TensorFlow Datasets: the same rows in the same order as from the TSV files."""

from collections.abc import Iterator

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


def tfds_split(task: Task, split: str) -> Split:
    """One split of a task; the rows are sorted by their index, since TensorFlow Datasets stores them shuffled.

    Raises:
        InputError: the data set is neither prepared here nor can be fetched.
    """
    import tensorflow_datasets

    name = _SPLITS.get(split, split)
    try:
        builder = tensorflow_datasets.builder(task.tfds)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=name)
    except Exception as error:  # every way to fail here (network, disk, unknown split) has the one remedy
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"TensorFlow Datasets cannot provide {task.tfds} ({reason}); give the files with --data_dir"
        ) from None
    text, text_pair = _FEATURES.get(task.name, (task.text, task.text_pair))

    def rows() -> Iterator[Example]:
        for row in sorted(dataset.as_numpy_iterator(), key=lambda row: int(row["idx"])):
            pair = None if text_pair is None else row[text_pair].decode("utf-8")
            yield Example(int(row["idx"]), row[text].decode("utf-8"), pair, _label(task, row["label"], builder))

    return Split(split, task.tfds, rows)


def _label(task: Task, value, builder) -> str | None:
    if task.kind == "regression":
        return None if float(value) < 0 else str(float(value))
    if int(value) < 0:
        return None
    names = builder.info.features["label"].names
    word = names[int(value)]
    # Digits stand for the names that TensorFlow Datasets gives them.
    return word if word in task.labels else task.labels[int(value)]
