"""GLUE from TensorFlow Datasets: the same rows in the same order as from the TSV files."""

import collections
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinybert_tf.data.split import Example, Split
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


_CONNECT_SECONDS = 5.0


def prepare(task: Task, split: str, data_dir: str | Path | None = None) -> tuple[Any, Any]:
    """The builder of a task, and the `tf.data.Dataset` of one split; downloaded and prepared if necessary.

    Args:
        task: the task.
        split: under the name of GLUE's or SQuAD's file.
        data_dir: where the data is prepared, `glue/cola/2.0.0` and so on; by default TensorFlow Datasets' own folder.

    Raises:
        InputError: the data set is neither prepared here nor can be fetched.
    """
    where = {"data_dir": data_dir} if data_dir else {}
    try:
        builder = fetched_builder(task.tfds, **where)
        return builder, builder.as_dataset(split=_SPLITS.get(split, split))
    except Exception as error:  # every error here (network, disk, unknown split) has the same remedy
        raise InputError(
            f"TensorFlow Datasets cannot provide {split} of {task.tfds} ({first_line(error)}); give the files with `data_dir`"
        ) from None


def fetched_builder(name: str, **arguments) -> Any:
    """The builder of a data set of TensorFlow Datasets, prepared.

    Raises:
        OSError: it is not prepared here, and the host that it is fetched from cannot be reached. Downloads have no time limit.
    """
    import tensorflow_datasets

    builder = tensorflow_datasets.builder(name, **arguments)
    hosts = collections.Counter(urllib.parse.urlsplit(url).hostname for url in builder.url_infos or ())
    if not builder.is_prepared() and hosts and not _is_reachable(hosts.most_common(1)[0][0]):
        raise OSError(f"{hosts.most_common(1)[0][0]} cannot be reached")
    builder.download_and_prepare()
    return builder


def _is_reachable(host: str) -> bool:
    request = urllib.request.Request(f"https://{host}", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_CONNECT_SECONDS).close()
    except urllib.error.HTTPError:  # an answer
        return True
    except OSError:
        return False
    return True


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def tfds_split(task: Task, split: str, data_dir: str | Path | None = None) -> Split:
    """One split of a task of GLUE; see `prepare`. Rows are sorted by index, since they are stored shuffled."""
    builder, dataset = prepare(task, split, data_dir)
    text, text_pair = _FEATURES.get(task.name, (task.text, task.text_pair))

    def rows() -> Iterator[Example]:
        # MRPC's indices count over Microsoft's file, which holds train and dev, so rows are counted here.
        for index, row in enumerate(sorted(dataset.as_numpy_iterator(), key=lambda row: int(row["idx"]))):
            pair = None if text_pair is None else row[text_pair].decode("utf-8")
            label = None if split.startswith("test") else _label(task, row["label"], builder)
            yield Example(index, row[text].decode("utf-8"), pair, label)

    return Split(split, task.tfds, rows)


def _label(task: Task, value, builder) -> str:
    if task.kind == "regression":
        return str(value)  # the shortest decimal number of this float32
    name = builder.info.features["label"].int2str(int(value))
    return name if name in task.labels else task.labels[task.label_names.index(name)]
