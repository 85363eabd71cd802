"""Loads the data of a task: from files, from TensorFlow Datasets, or the user's own."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from tinybert_tf.data.conll import load_conll
from tinybert_tf.data.custom import CustomFiles, load_custom, read_rows
from tinybert_tf.data.glue import glue_split
from tinybert_tf.data.sample import sample_split
from tinybert_tf.data.split import Split, TaskData
from tinybert_tf.data.squad import squad_split
from tinybert_tf.data.tasks import CUSTOM_TASKS, Task, get_task
from tinybert_tf.data.tfds import tfds_split
from tinybert_tf.data.unlabelled import unlabelled_split
from tinybert_tf.errors import InputError

# What one of the two tasks on own files reads and the other does not.
_UNREAD = {
    "custom": {"tag_column"},
    "token_classification": {"text_column", "text_pair_column", "label_column", "label_type", "label_separator"},
}


def load_task(
    name: str,
    data_dir: str | Path | None = None,
    files: CustomFiles | None = None,
    labels: Sequence[str] | None = None,
) -> TaskData:
    """The data of a task.

    ```python
    task = tb.load_task("sst2", "glue")  # glue/SST-2/train.tsv, dev.tsv, test.tsv
    print(next(iter(task.train)).text, task.task.labels)
    ```

    Args:
        name: see `TASKS`; "sample" is the built-in set, which needs no files; "custom" and "token_classification" are the
            user's own.
        data_dir: a folder in GLUE's layout (`CoLA/train.tsv`, ...), or the task's own folder in it; or, but for SQuAD, a folder
            that TensorFlow Datasets has prepared (`glue/cola/2.0.0`, ...). Without it the data comes from TensorFlow
            Datasets, which may fetch it. For "sample", a folder with its augmented form.
        files: of a custom task. Of any task: `unlabelled_file` with its `quoting` and `skip_bad_rows`; of SQuAD also the latter.
        labels: of a custom task, in the order of their ids. They are needed where there is no training file to collect them
            from; with one they must be the same, and only their order is taken.

    Returns:
        The task and its splits, which are read when they are iterated over.

    Raises:
        InputError: an unknown task, a setting that it does not read, or (once a split is asked for) a missing or malformed file.
    """
    files = files or CustomFiles()
    if name in CUSTOM_TASKS:
        if data_dir is not None:
            raise InputError(
                f"task {name} reads no folder; name its files with `train_file`, `dev_file`", "data_dir", data_dir
            )
        _refuse(files, _UNREAD[name], name, "leave it out")
        load = load_custom if name == "custom" else load_conll
        return load(files, labels)
    task = get_task(name)
    if labels is not None:
        raise InputError(f"are those of own files; task {name} has its own labels, leave them out", "labels")
    _check_files(task, files)
    read = _reader(task, data_dir, files)

    def split(name: str) -> Split:
        if name != "unlabelled":
            return read(name)
        if files.unlabelled_file is None:
            raise InputError("is missing; the split 'unlabelled' is read from it", "unlabelled_file")
        rows = lambda path: read_rows(path, _with_named_text(task), files, has_labels=False)
        return unlabelled_split(task, Path(files.unlabelled_file), rows)

    return TaskData(task, split)


def labels_to_load(name: str, files: CustomFiles | None, label2id: Mapping[str, int] | None) -> list[str] | None:
    """A model's labels in the order of their ids where `load_task` needs them: for own files without a training file. Those of
    other tasks need not be spelled as the model's.

    Args:
        name, files: as for `load_task`.
        label2id: the model's.
    """
    if not label2id or name not in CUSTOM_TASKS or (files is not None and files.train_file is not None):
        return None
    return sorted(label2id, key=label2id.get)


def _with_named_text(task: Task) -> Task:
    """The task with a name for its column of text: CoLA's files have none, but for its test set."""
    return task if isinstance(task.text, str) else dataclasses.replace(task, text="sentence")


def _check_files(task: Task, files: CustomFiles) -> None:
    """Raises InputError for a setting of own files that one of the paper's tasks does not read."""
    read = {"unlabelled_file"} | ({"quoting", "skip_bad_rows"} if files.unlabelled_file else set())
    if task.kind == "span":
        read |= {"skip_bad_rows"}
    unread = {field.name for field in dataclasses.fields(files)} - read
    remedy = f"leave it out, or take one of the tasks on own files: {', '.join(CUSTOM_TASKS)}"
    _refuse(files, unread, task.name, remedy)


def _refuse(files: CustomFiles, unread: Set[str], task: str, remedy: str) -> None:
    """Raises InputError for the first setting among `unread` that was given."""
    for field in dataclasses.fields(files):
        if field.name in unread and (value := getattr(files, field.name)) != field.default:
            raise InputError(f"task {task} does not read it; {remedy}", field.name, value)


def _reader(task: Task, data_dir: str | Path | None, files: CustomFiles) -> Callable[[str], Split]:
    """A function from the name of a split to the split."""
    if task.name == "sample" and data_dir is None:
        return sample_split
    if task.kind == "span":
        return lambda split: squad_split(task, data_dir, split, files.skip_bad_rows)
    if data_dir is None or (task.tfds and (Path(data_dir) / task.tfds).is_dir()):
        return lambda split: tfds_split(task, split, data_dir)
    return lambda split: glue_split(task, data_dir, split)
