"""Makes a corpus for general distillation and masked-LM pre-training: plain text -> packed, sharded TFRecords."""

import common
from tinybert_tf.corpus import CorpusSettings, make_corpus


def main(settings: CorpusSettings) -> dict:
    result = make_corpus(settings)
    print(f"wrote {settings.output_dir}: train-*.tfrecord.gz, held_out-*.tfrecord.gz, vocab.txt, manifest.json")
    return result


if __name__ == "__main__":
    common.run(CorpusSettings, main)
