"""Fine-tunes a model directory on a task: the teacher."""

import common
from tinybert_tf.train.stages import FinetuneSettings, finetune


def main(settings: FinetuneSettings) -> dict:
    result = finetune(settings)
    print(f"wrote {settings.output_dir}: model/ (best on dev), last/, run.json, metrics.jsonl, events/")
    return result


if __name__ == "__main__":
    common.run(FinetuneSettings, main)
