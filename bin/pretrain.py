"""Trains a masked language model over a corpus of plain text, or a masked-LM head on an encoder that has none."""

import common
from tinybert_tf.train.pretrain import PretrainSettings, pretrain


def main(settings: PretrainSettings) -> dict:
    result = pretrain(settings)
    print(f"wrote {settings.output_dir}: model/ (the best on held-out text), last/, run.json, metrics.jsonl, events/")
    return result


if __name__ == "__main__":
    common.run(PretrainSettings, main)
