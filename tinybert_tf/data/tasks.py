"""A table of the paper's tasks and the built-in one."""

import dataclasses
from collections.abc import Mapping

from tinybert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: as in `--task`.
        kind: "classification", "regression", "token_classification" or "span": also the head of a model for it.
        folder: its folder in GLUE's layout.
        labels: GLUE's label words, in the order of their ids.
        label_names: what the labels mean, where the words themselves are digits.
        text, text_pair, label: column names; a number for a file without a header.
        metrics: reported on dev; the first is the main one.
        seq_len, intermediate_epochs, prediction_epochs: of stage 2. Those of GLUE's eight tasks are the paper's (section 4.2
            and appendix); the paper gives none for SQuAD, WNLI and AX.
        submissions: GLUE's names of the prediction files, one for each of `test_splits`.
        dev_splits: names of the dev files without .tsv. The first selects the best model; the others are only scored.
        tfds: TensorFlow Datasets' name.
        unseen: tags of the dev set that no model predicts, since training lacks them.
    """

    name: str
    kind: str
    folder: str
    labels: tuple[str, ...]
    text: str | int
    text_pair: str | int | None
    label: str | int
    metrics: tuple[str, ...] = ("accuracy",)
    seq_len: int = 128
    intermediate_epochs: int = 20
    prediction_epochs: int = 3
    submissions: tuple[str, ...] = ()
    dev_splits: tuple[str, ...] = ("dev",)
    test_splits: tuple[str, ...] = ("test",)
    label_names: tuple[str, ...] = ()
    tfds: str | None = None
    unseen: tuple[str, ...] = ()

    @property
    def has_pairs(self) -> bool:
        """Whether an input is a pair of texts, which have different token types."""
        return self.text_pair is not None or self.kind == "span"

    @property
    def head(self) -> str:
        """The head of a model for this task."""
        return self.kind

    @property
    def main_metric(self) -> str:
        return self.metrics[0]

    def with_unseen(self) -> "Task":
        """This task with the `unseen` tags among its labels: words that have them are predicted and scored like all others."""
        return dataclasses.replace(self, labels=(*self.labels, *self.unseen), unseen=())

    @property
    def label2id(self) -> dict[str, int]:
        """Readable label names -> ids, for a model's config.json."""
        return {name: index for index, name in enumerate(self.label_names or self.labels)}


_ENTAILMENT = ("entailment", "not_entailment")
_MNLI = ("contradiction", "entailment", "neutral")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "cola", "classification", "CoLA", ("0", "1"), 3, None, 1, ("matthews", "accuracy"), 64, 50,
            submissions=("CoLA.tsv",), label_names=("unacceptable", "acceptable"), tfds="glue/cola",
        ),
        Task(
            "sst2", "classification", "SST-2", ("0", "1"), "sentence", None, "label", ("accuracy",), 64,
            submissions=("SST-2.tsv",), label_names=("negative", "positive"), tfds="glue/sst2",
        ),
        Task(
            "mrpc", "classification", "MRPC", ("0", "1"), "#1 String", "#2 String", "Quality", ("f1", "accuracy"),
            submissions=("MRPC.tsv",), label_names=("not_equivalent", "equivalent"), tfds="glue/mrpc",
        ),
        Task(
            "stsb", "regression", "STS-B", (), "sentence1", "sentence2", "score", ("spearman", "pearson"),
            submissions=("STS-B.tsv",), tfds="glue/stsb",
        ),
        Task(
            "qqp", "classification", "QQP", ("0", "1"), "question1", "question2", "is_duplicate", ("f1", "accuracy"),
            intermediate_epochs=10, submissions=("QQP.tsv",), label_names=("not_duplicate", "duplicate"), tfds="glue/qqp",
        ),
        Task(
            "mnli", "classification", "MNLI", _MNLI, "sentence1", "sentence2", "gold_label",
            intermediate_epochs=10, submissions=("MNLI-m.tsv", "MNLI-mm.tsv"), dev_splits=("dev_matched", "dev_mismatched"),
            test_splits=("test_matched", "test_mismatched"), tfds="glue/mnli",
        ),
        Task(
            "qnli", "classification", "QNLI", _ENTAILMENT, "question", "sentence", "label",
            intermediate_epochs=10, submissions=("QNLI.tsv",), tfds="glue/qnli",
        ),
        Task(
            "rte", "classification", "RTE", _ENTAILMENT, "sentence1", "sentence2", "label",
            submissions=("RTE.tsv",), tfds="glue/rte",
        ),
        Task(
            "wnli", "classification", "WNLI", ("0", "1"), "sentence1", "sentence2", "label",
            submissions=("WNLI.tsv",), label_names=("not_entailment", "entailment"), tfds="glue/wnli",
        ),
        Task(
            "ax", "classification", "AX", _MNLI, "sentence1", "sentence2", "label", ("matthews",),
            submissions=("AX.tsv",), dev_splits=(), tfds="glue/ax",
        ),
        Task(
            "squad1", "span", "SQuAD", (), "question", "context", "answers", ("f1", "exact_match"), 384,
            submissions=("predictions.json",), tfds="squad/v1.1",
        ),
        Task(
            "squad2", "span", "SQuAD", (), "question", "context", "answers", ("f1", "exact_match"), 384,
            submissions=("predictions.json",), tfds="squad/v2.0",
        ),
        Task(
            "sample", "classification", "sample", ("negative", "positive"), "sentence", None, "label", ("accuracy",), 48,
            intermediate_epochs=6,
        ),
    )
}  # fmt: skip


# Tasks on the user's own files; their labels are known once the files are read. See `CustomFiles`.
CUSTOM_TASKS = ("custom", "token_classification")


def get_task(name: str) -> Task:
    """Raises InputError for an unknown name, with the known ones."""
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; use one of {', '.join((*TASKS, *CUSTOM_TASKS))}")
    return TASKS[name]


def _folded(label: str) -> str:
    return label.lower().replace("-", "_").replace(" ", "_")


def label_ids(
    task: Task,
    label2id: Mapping[str, int] | None,
    source: str = "the model",
    remedy: str = "rename label2id in config.json or take another model",
) -> dict[str, int]:
    """The id of each of the task's label words in a model, matched by name and not by position.

    A model that was fine-tuned with its classes in another order keeps that order. Generic names (LABEL_0, ...) are in the
    task's own order. Tags that only the dev set has (`Task.unseen`) get the ids after those of the model.

    >>> label_ids(get_task("sst2"), {"positive": 0, "negative": 1})
    {'0': 1, '1': 0}

    Args:
        task: its labels.
        label2id: the model's; None: the task's own order.
        source: the model, for messages.
        remedy: what to do where the names do not match, for messages.

    Raises:
        InputError: names or a number of classes that do not match, with both sides.
    """
    if task.kind not in ("classification", "token_classification"):
        return {}
    ids = _matched_ids(task, label2id)
    if ids is None:
        raise InputError(
            f"{source} has the labels {', '.join(label2id)}, but task {task.name} has "
            f"{', '.join(task.label_names or task.labels)}; {remedy}"
        )
    return ids | {tag: len(ids) + number for number, tag in enumerate(task.unseen)}


def _matched_ids(task: Task, label2id: Mapping[str, int] | None) -> dict[str, int] | None:
    in_order = {word: index for index, word in enumerate(task.labels)}
    if not label2id:
        return in_order
    for names in (task.labels, task.label_names):
        for form in (str, _folded):
            words = {form(name): word for name, word in zip(names, task.labels, strict=False)}
            ids = {form(name): index for name, index in label2id.items()}
            if len(words) == len(in_order) == len(label2id) and words.keys() == ids.keys():
                return {word: ids[name] for name, word in words.items()}
    ids = {_folded(name): index for name, index in label2id.items()}
    if ids.keys() != {f"label_{index}" for index in in_order.values()}:
        return None
    return {word: ids[f"label_{index}"] for word, index in in_order.items()}
