"""Scores a model directory on a task."""

import dataclasses
import logging
from pathlib import Path

from tinybert_tf.data.settings import DataSettings
from tinybert_tf.distribution import distributed, is_chief
from tinybert_tf.evaluate.settings import ModelSettings
from tinybert_tf.evaluate.task_model import open_task_model
from tinybert_tf.files import write_json
from tinybert_tf.settings import nested, setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """Settings of bin/evaluate.py."""

    data: DataSettings = nested(DataSettings)
    model: ModelSettings = nested(ModelSettings)
    split: str | None = setting(None, "absent: the task's dev set, for mnli both of them; e.g. dev_mismatched")
    output_dir: str | None = setting(None, "where scores.json is written; absent: nowhere")


def evaluate_model(settings: EvaluateSettings) -> dict:
    """The scores of a model directory on dev.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/evaluate.py`: task, score, metrics. The metrics of a second dev set (MNLI's mismatched one) are
        prefixed with its name: `dev_mismatched_accuracy`.

    Raises:
        InputError: a model and a task that do not fit each other, or a split without labels.
    """
    own, data = settings.model, settings.data
    with distributed(own.devices):
        trained = open_task_model(own.model_dir, data, own.batch_size)
        task = trained.data
        splits = [task.split(settings.split)] if settings.split else task.dev_splits()
        metrics = {}
        for split in splits:
            prefix = "" if split is splits[0] else f"{split.name}_"
            metrics |= {f"{prefix}{name}": value for name, value in trained.score(split).items()}
        result = {"task": task.task.name, "score": metrics[task.task.main_metric], "metrics": metrics}
        if settings.output_dir and is_chief():
            path = Path(settings.output_dir) / "scores.json"
            write_json(path, result)
            logger.info("wrote %s", path)
        return result
