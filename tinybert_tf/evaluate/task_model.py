"""A network with a task's data, tokenizer, label ids and length."""

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Split, TaskData, Tokenizer, label_ids, load_task
from tinybert_tf.data.batching import check_fits
from tinybert_tf.data.checks import whole_number
from tinybert_tf.data.load import labels_to_load
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import (
    Labels,
    Logits,
    check_labelled,
    checked_seq_len,
    make_predict,
    predict_logits,
    score,
)
from tinybert_tf.evaluate.squad import Prediction, predict_squad, score_squad, squad_evaluation

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TaskModel:
    """A network with the data of a task.

    Attributes:
        model: with a head for the task.
        tokenizer: its tokenizer.
        data: the task.
        ids: label word -> the model's id.
        seq_len: longest length in tokens.
        batch_size: examples at a time.
    """

    model: BertModel
    tokenizer: Tokenizer
    data: TaskData
    ids: Mapping[str, int]
    seq_len: int
    batch_size: int = 64

    @classmethod
    def of(
        cls,
        model: BertModel,
        tokenizer: Tokenizer,
        data: TaskData,
        seq_len: int | None = None,
        batch_size: int = 64,
        source: str | Path = "the model",
    ) -> "TaskModel":
        """Puts a network and a task together.

        Args:
            model: the network.
            tokenizer: its tokenizer.
            data: the task.
            seq_len: longest length in tokens, by default the task's or, if it is less, the model's.
            batch_size: examples at a time.
            source: name of the model in messages.

        Raises:
            InputError: another head, other labels, or fewer positions than `seq_len`.
        """
        if model.head != data.task.head:
            raise InputError(
                f"{source}: has the head {model.head!r}, but task {data.task.name} needs {data.task.head!r}"
            )
        check_fits(tokenizer, model.config, None)
        ids = label_ids(data.task, model.config.label2id, str(source))
        if _are_nameless(model.config.label2id, ids):
            names = data.task.label_names or data.task.labels
            order = ", ".join(f"{ids[word]} = {name}" for word, name in zip(data.task.labels, names, strict=True))
            logger.warning("%s: its labels have no names; the task's order is assumed: %s", source, order)
        if seq_len is None and data.task.seq_len > (positions := model.config.max_position_embeddings):
            logger.warning(
                "%s: has %d positions, so longer texts are cut; the length of the task is %d",
                source,
                positions,
                data.task.seq_len,
            )
            seq_len = positions
        length = checked_seq_len(model, data.task.seq_len if seq_len is None else seq_len)
        return cls(model, tokenizer, data, ids, length, whole_number("batch_size", batch_size, 1))

    @property
    def _reading(self) -> dict:
        return {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids}

    def predict(self, split: Split) -> tuple[Logits, Labels]:
        """(logits, labels) of a split, in its order; see `make_predict`. Not for spans."""
        return predict_logits(self.model, split, self.tokenizer, self.data.task, **self._reading)

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

    def scorer(self, split: Split) -> Callable[[], dict[str, float]]:
        """A function that scores the network's current weights; the split is read and tokenized once."""
        task = self.data.task
        if task.kind == "span":
            return squad_evaluation(self.model, split, self.tokenizer, task, seq_len=self.seq_len)
        predict = make_predict(self.model, split, self.tokenizer, task, **self._reading)
        return lambda: score(task, *predict())


def open_task_model(model_dir: str | Path, data: DataSettings, batch_size: int = 64) -> TaskModel:
    """A model directory with the data of a task; the labels of a custom task without a training file are the model's.

    Args:
        model_dir: a directory or preset with all weights of its head.
        data: the task, its files, the length, and how texts are tokenized.
        batch_size: examples at a time.

    Raises:
        InputError: a model with another head, other labels, or fewer positions than the length.
    """
    directory = resolve_directory(model_dir, "--model_dir")
    model = load_model(directory, strict_head=True)
    labels = labels_to_load(data.task, data.custom, model.config.label2id)
    if model.head == "regression" and data.task in CUSTOM_TASKS and data.custom.label_type == "class":
        raise InputError(f"{directory} gives scores; set it to number", "label_type", "class")
    loaded = load_task(data.task, data.data_dir, data.custom, labels)
    return TaskModel.of(model, data.open_tokenizer(directory), loaded, data.seq_len, batch_size, source=directory)


def _are_nameless(label2id: Mapping[str, int] | None, ids: Mapping[str, int]) -> bool:
    """Whether a model's labels are LABEL_0, LABEL_1, ... and the task's are not."""
    generic = [re.fullmatch(r"label_\d+", name, re.IGNORECASE) for name in label2id or ()]
    return bool(ids) and bool(generic) and all(generic) and not ids.keys() <= (label2id or {}).keys()
