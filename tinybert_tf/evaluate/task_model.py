"""A model directory, opened for a task."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Split, TaskData, Tokenizer, label_ids, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.distribution import STRATEGY_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import Labels, Logits, check_labelled, predict_logits, score
from tinybert_tf.evaluate.squad import Prediction, predict_squad, score_squad
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class ModelSettings(CustomFiles):
    """What every program that runs a trained model is told."""

    model_dir: str = setting("", "a model directory that was fine-tuned or distilled", required=True)
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    batch_size: int = setting(64, "examples at a time")
    seed: int = setting(0, "without effect: nothing here is random")
    strategy: str = setting("one_device", STRATEGY_HELP)
    num_devices: int | None = setting(None, "of --strategy=mirrored; without GPUs that many logical CPU devices")

    def __post_init__(self):
        for name in ("seq_len", "batch_size", "num_devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name}={value}: must be at least 1")


@dataclasses.dataclass(frozen=True)
class TaskModel:
    """A trained model with the data of a task; `ids` are the model's ids of the task's labels."""

    model: BertModel
    tokenizer: Tokenizer
    data: TaskData
    ids: Mapping[str, int]
    seq_len: int
    batch_size: int

    def predict(self, split: Split) -> tuple[Logits, Labels]:
        """See `predictor`; not for spans."""
        return predict_logits(
            self.model,
            split,
            self.tokenizer,
            self.data.task,
            batch_size=self.batch_size,
            seq_len=self.seq_len,
            ids=self.ids,
        )

    def answer(self, split: Split) -> dict[str, Prediction]:
        """Answers to SQuAD's questions; see `predict_squad`."""
        return predict_squad(self.model, split, self.tokenizer, seq_len=self.seq_len, batch_size=self.batch_size)

    def score(self, split: Split) -> dict[str, float]:
        """The task's metrics, the main one first; InputError for a split without labels."""
        task = self.data.task
        if task.kind == "span":
            return score_squad(task, split, self.answer(split))
        check_labelled(split)
        return score(task, *self.predict(split))


def open_for_task(settings: ModelSettings, task: str) -> TaskModel:
    """`open_task_model` with the settings of a program."""
    return open_task_model(settings.model_dir, task, settings.data_dir, settings, settings.seq_len, settings.batch_size)


def open_task_model(
    model_dir: str | Path,
    task: str,
    data_dir: str | Path | None = None,
    files: CustomFiles | None = None,
    seq_len: int | None = None,
    batch_size: int = 64,
) -> TaskModel:
    """A model directory with the data of a task; a custom task without a training file has the model's labels.

    Args:
        model_dir: a model directory or a preset, with a trained head.
        task, data_dir, files: as for `load_task`.
        seq_len: longest length in tokens; None: the task's.
        batch_size: examples that the model reads at a time.

    Raises:
        InputError: a model with another head, other labels or fewer positions than the task needs.
    """
    directory = resolve_directory(model_dir, "--model_dir")
    model, tokenizer = load_model(directory, strict_head=True), Tokenizer.from_directory(directory)
    label2id = model.config.label2id
    labels = sorted(label2id, key=label2id.get) if label2id else None
    data = load_task(task, data_dir, files, labels)
    if model.head != data.task.head:
        raise InputError(
            f"{directory}: has the head {model.head!r}, but task {data.task.name} needs {data.task.head!r}"
        )
    ids = label_ids(data.task, label2id, str(directory))
    return TaskModel(model, tokenizer, data, ids, checked_seq_len(model, seq_len or data.task.seq_len), batch_size)


def open_model(settings: ModelSettings) -> tuple[BertModel, Tokenizer]:
    directory = resolve_directory(settings.model_dir, "--model_dir")
    return load_model(directory, strict_head=True), Tokenizer.from_directory(directory)


def checked_seq_len(model: BertModel, seq_len: int) -> int:
    positions = model.config.max_position_embeddings
    if seq_len > positions:
        raise InputError(f"the model has {positions} positions; take a smaller one", "seq_len", seq_len)
    return seq_len
