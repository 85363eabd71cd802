"""Trains a masked language model over a corpus of plain text, or a masked-LM head on an encoder that has none."""

import common
from tinybert_tf.train.pretrain import PretrainSettings, pretrain


def main(settings: PretrainSettings) -> dict:
    result = pretrain(settings)
    if not settings.run.dry_run:
        print(
            f"wrote {settings.run.output_dir}: model/ (the best on held-out text), last/, run.json, metrics.jsonl, events/"
        )
    return result


if __name__ == "__main__":
    common.run(PretrainSettings, main)
