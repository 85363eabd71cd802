"""Example texts to calibrate a file with."""

from collections.abc import Iterable
from pathlib import Path

from tinybert_tf.data import Example, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.glue import tsv_fields
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.split import uniform_sample
from tinybert_tf.data.squad import SquadExample, texts_of
from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.quantization import MOST_TEXTS

Texts = list[str] | list[tuple[str, str]]


def task_texts(
    task: str, data_dir: str | Path | None = None, files: CustomFiles | None = None, count: int = MOST_TEXTS
) -> Texts:
    """Texts of a task's training set, or pairs of texts: a random sample, each time the same.

    Args:
        task, data_dir, files: as for `load_task`.
        count: size of the sample.
    """
    return example_texts(load_task(task, data_dir, files).train, count)


def example_texts(examples: Iterable[Example | SquadExample], count: int = MOST_TEXTS) -> Texts:
    """Texts of examples, or pairs of texts: a random sample, each time the same."""
    return uniform_sample(map(texts_of, examples), count)


def file_texts(path: str | Path, count: int = MOST_TEXTS) -> Texts:
    """Texts of a file with one a line, or a pair with a tab between: a random sample, each time the same.

    Raises:
        InputError: no such file, not UTF-8, nothing in it, or a line with another number of columns than the first.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "no such file; it holds one text a line, or a pair with a tab between", "calibration_file", path
        )
    numbered = [(number, tuple(tsv_fields(line))) for number, line in numbered_lines(path) if line.strip()]
    rows = [row for _, row in numbered]
    if not rows:
        raise InputError(f"{path}: no text in it")
    for number, row in numbered:
        if len(row) != len(rows[0]) or len(row) > 2:
            raise InputError(
                f"{path}, line {number}: {len(row)} columns, the first has {len(rows[0])}; give one, or two for pairs, in all"
            )
    return uniform_sample((row[0] if len(row) == 1 else row for row in rows), count)
