"""Prediction files for gluebenchmark.com."""

import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tinybert_tf.data import Task
from tinybert_tf.files import atomic_write

logger = logging.getLogger(__name__)

# Rows of GLUE's test sets, by the name of the prediction file.
TEST_ROWS = {
    "CoLA.tsv": 1063,
    "SST-2.tsv": 1821,
    "MRPC.tsv": 1725,
    "STS-B.tsv": 1379,
    "QQP.tsv": 390965,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "QNLI.tsv": 5463,
    "RTE.tsv": 3000,
    "WNLI.tsv": 146,
    "AX.tsv": 1104,
}
ARCHIVE = "submission.zip"


def submission_names(task: Task) -> dict[str, str]:
    """A test split's name -> that of its prediction file: {"test": "CoLA.tsv"}."""
    return dict(zip(task.test_splits, task.submissions, strict=False))


def submission_words(task: Task, logits: np.ndarray) -> list[str]:
    """Predictions as GLUE writes them: a label word, or a score from 0 to 5.

    Args:
        task: one of GLUE's.
        logits: [rows, classes], classes in the order of the task's labels; for regression [rows, 1].
    """
    if task.kind == "regression":
        return [f"{value:.3f}" for value in np.clip(logits[:, 0], 0.0, 5.0)]
    return [task.labels[index] for index in logits.argmax(axis=-1)]


def write_submission(path: str | Path, words: Iterable[str]) -> int:
    """Writes one prediction file: the header `index<TAB>prediction`, then a line for each row. Returns the number of rows.

    Logs a warning where it is not that of GLUE's test set: the site would refuse the file.
    """
    path = Path(path)
    lines = [f"{index}\t{word}\n" for index, word in enumerate(words)]
    with atomic_write(path) as aside:
        aside.write_text("index\tprediction\n" + "".join(lines), encoding="utf-8", newline="\n")
    expected = TEST_ROWS[path.name]
    if len(lines) != expected:
        logger.warning(
            "%s has %d rows, but GLUE's test set has %d: the site will refuse it; predict the whole test file",
            path,
            len(lines),
            expected,
        )
    return len(lines)


def zip_submissions(directory: str | Path) -> tuple[Path, list[str], list[str]]:
    """Packs the prediction files of a folder as GLUE takes them, without folders: (archive, files in it, files missing)."""
    directory = Path(directory)
    present = [name for name in TEST_ROWS if (directory / name).is_file()]
    with atomic_write(directory / ARCHIVE) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in present:
            archive.write(directory / name, name)
    return directory / ARCHIVE, present, [name for name in TEST_ROWS if name not in present]
