"""A teacher's dev scores, kept for the runs that share a cache."""

from pathlib import Path
from typing import Any

from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.files import file_states, read_json, write_json
from tinybert_tf.train.reading import digest_of


def teacher_scores(teacher: TaskModel, cache_dir: str | Path | None, reading: Any = None) -> dict[str, float]:
    """The task's metrics of a teacher on dev, the main one first.

    Args:
        teacher: with its task.
        cache_dir: holds the scores of each teacher and dev file; None: they are computed.
        reading: how the dev file is read, such as its columns; of another reading the scores are others.
    """
    dev = teacher.data.dev
    if cache_dir is None or not Path(dev.source).is_file():
        return teacher.score(dev)
    task = (teacher.data.task, teacher.seq_len, sorted(teacher.ids.items()), teacher.tokenizer.spec)
    digest = digest_of(teacher.model, task, reading, file_states([dev.source]))
    path = Path(cache_dir) / f"teacher-scores-{digest}.json"
    if path.is_file():
        return read_json(path)
    scores = teacher.score(dev)
    write_json(path, scores)
    return scores
