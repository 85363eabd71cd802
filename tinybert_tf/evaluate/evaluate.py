"""A model directory scored on a task."""

import dataclasses
from pathlib import Path

from tinybert_tf.distribution import distributed, is_chief
from tinybert_tf.evaluate.task_model import ModelSettings, open_for_task
from tinybert_tf.files import write_json
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class EvaluateSettings(ModelSettings):
    task: str = setting(
        "", "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, squad1, squad2, sample, custom or token_classification",
        required=True,
    )  # fmt: skip
    split: str | None = setting(None, "absent: the task's dev set, for mnli both of them; e.g. dev_mismatched")
    output_dir: str | None = setting(None, "where scores.json is written; absent: nowhere")


def evaluate_model(settings: EvaluateSettings) -> dict:
    """The scores of a model directory on dev; the result line of `bin/evaluate.py`.

    The scores of a second dev set (MNLI's mismatched one) have its name before theirs: `dev_mismatched_accuracy`.
    """
    with distributed(settings):
        trained = open_for_task(settings, settings.task)
        data = trained.data
        splits = [data.split(settings.split)] if settings.split else data.dev_splits()
        metrics = {}
        for split in splits:
            prefix = "" if split is splits[0] else f"{split.name}_"
            scores = trained.score(split)
            metrics |= {f"{prefix}{name}": value for name, value in scores.items()}
        result = {"task": data.task.name, "score": metrics[data.task.main_metric], "metrics": metrics}
        if settings.output_dir and is_chief():
            path = Path(settings.output_dir) / "scores.json"
            write_json(path, result)
            print(f"wrote {path}")
        return result
