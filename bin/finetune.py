"""Fine-tunes a model directory on a task: the teacher."""

import common
from tinybert_tf.train.finetune import FinetuneSettings, finetune


def main(settings: FinetuneSettings) -> dict:
    result = finetune(settings)
    if not settings.run.dry_run:
        print(f"wrote {settings.run.output_dir}: model/ (best on dev), last/, run.json, metrics.jsonl, events/")
    return result


if __name__ == "__main__":
    common.run(FinetuneSettings, main)
