"""Distills a pretrained teacher into a student over a corpus of plain text (TinyBERT's stage 1)."""

import common
from tinybert_tf.train.distill_general import GeneralSettings, distill_general


def main(settings: GeneralSettings) -> dict:
    result = distill_general(settings)
    if not settings.run.dry_run:
        print(
            f"wrote {settings.run.output_dir}: model/ (the best on held-out text), last/, run.json, metrics.jsonl, events/"
        )
    return result


if __name__ == "__main__":
    common.run(GeneralSettings, main)
