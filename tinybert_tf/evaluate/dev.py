"""A model directory scored on a task."""

import dataclasses

from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data import Tokenizer, count_batches, label_ids, load_task
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.predict import predict_logits, score
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    model_dir: str = setting("", "the model directory that is scored", required=True)
    task: str = setting("", "the task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli or sample", required=True)
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    split: str | None = setting(None, "absent: the task's dev set; e.g. dev_mismatched")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    batch_size: int = setting(64, "examples at a time")
    output_dir: str | None = setting(None, "where scores.json is written; absent: nowhere")
    seed: int = setting(0, "unused: an evaluation has no random part")


def evaluate_model(settings: EvaluateSettings) -> dict:
    """The scores of a model directory on dev; the result line of `bin/evaluate.py`."""
    data = load_task(settings.task, settings.data_dir)
    directory = resolve_directory(settings.model_dir, "--model_dir")
    model = load_model(directory, strict_head=True)
    if model.head != data.task.head:
        raise InputError(
            f"{directory}: has the head {model.head!r}, but task {data.task.name} needs {data.task.head!r}"
        )
    tokenizer = Tokenizer.from_directory(directory)
    split = data.split(settings.split) if settings.split else data.dev
    common = {"seq_len": settings.seq_len, "ids": label_ids(data.task, model.config.label2id, str(directory))}
    count_batches(split, tokenizer, data.task, batch_size=settings.batch_size, **common)
    scores = score(
        data.task, *predict_logits(model, split, tokenizer, data.task, batch_size=settings.batch_size, **common)
    )
    return {"task": data.task.name, "score": scores[data.task.main_metric], "metrics": scores}
