"""Distils a fine-tuned teacher into a student on a task (TinyBERT's stage 2)."""

import common
from tinybert_tf.train.stages import DistillSettings, distill_task


def main(settings: DistillSettings) -> dict:
    result = distill_task(settings)
    print(f"wrote {settings.output_dir}: model/ (best on dev), last/, run.json, metrics.jsonl, events/")
    return result


if __name__ == "__main__":
    common.run(DistillSettings, main)
