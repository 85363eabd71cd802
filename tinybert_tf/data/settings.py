"""Settings of the data that a program reads."""

import dataclasses
from pathlib import Path

from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.load import load_task
from tinybert_tf.data.split import TaskData
from tinybert_tf.data.tasks import TASKS
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.presets import locate
from tinybert_tf.settings import check_at_least_one, nested, setting
from tinybert_tf.tokenizer_files import open_vocabulary, read_vocabulary
from tinybert_tf.vocabulary import SIDES

TASK_HELP = "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, squad1, squad2, sample, custom or token_classification"
DATA_DIR_HELP = "a folder of GLUE's or SQuAD's files as published; absent: TensorFlow Datasets"

_CUT_AT_THE_END = {
    "token_classification": "words to tag are always cut at the end of a sentence",
    "span": "a long context is read in windows that overlap",
}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """A task, where its files are, and how long its texts may be."""

    task: str = setting("", TASK_HELP, required=True)
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    truncate: str | None = setting(
        None, "where a text that is too long is cut: right or left; absent: as the model's tokenizer_config.json says"
    )
    normalization: str | None = setting(
        None,
        "bert, or mediapipe: that of MediaPipe's tasks, so that training and device agree; absent: as "
        "the model's tokenizer_config.json says",
    )
    custom: CustomFiles = nested(CustomFiles)

    def __post_init__(self):
        check_at_least_one(self, "seq_len")
        if self.truncate not in (None, *SIDES):
            raise InputError(f"must be {' or '.join(SIDES)}", "truncate", self.truncate)
        check_truncation(TASKS[self.task].kind if self.task in TASKS else self.task, self.truncate)

    def open_tokenizer(self, source: str | Path) -> Tokenizer:
        """The tokenizer of a model directory or of a vocab.txt; its `spec` is what `save_model(tokenizer_from=...)` takes."""
        is_file = Path(source).is_file()
        vocabulary = read_vocabulary(source) if is_file else open_vocabulary(locate(source) or source)
        if self.truncate is not None:
            vocabulary = vocabulary.with_truncation(self.truncate)
        if self.normalization is not None:
            vocabulary = vocabulary.with_normalization(self.normalization)
        return Tokenizer(vocabulary)

    def load(self) -> TaskData:
        """The task's data; see `load_task`."""
        return load_task(self.task, self.data_dir, self.custom)


def check_read(task: str | None, data_dir: str | None, custom: CustomFiles) -> None:
    """Raises InputError for files, columns or folders that are given without the task that reads them."""
    given = {"data_dir": data_dir} | {
        field.name: value
        for field in dataclasses.fields(custom)
        if (value := getattr(custom, field.name)) != field.default
    }
    for name, value in given.items():
        if task is None and value is not None:
            raise InputError("is read with `task` alone, which is missing; add it or leave this out", name, value)


def check_truncation(kind: str, truncate: str | None) -> None:
    """Raises InputError for a side at which texts of this kind are not cut."""
    if truncate == "left" and kind in _CUT_AT_THE_END:
        raise InputError(f"has no effect, since {_CUT_AT_THE_END[kind]}; leave it out", "truncate", truncate)
