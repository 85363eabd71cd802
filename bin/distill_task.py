"""Distills a fine-tuned teacher into a student on a task (TinyBERT's stage 2)."""

import common
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task


def main(settings: DistillSettings) -> dict:
    result = distill_task(settings)
    if not settings.run.dry_run:
        print(f"wrote {settings.run.output_dir}: model/ (best on dev), last/, run.json, metrics.jsonl, events/")
    return result


if __name__ == "__main__":
    common.run(DistillSettings, main)
