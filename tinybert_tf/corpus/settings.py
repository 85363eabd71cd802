"""Settings of bin/make_corpus.py."""

import dataclasses

from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_at_least_one, check_positive, setting

PACKINGS = ("documents", "contiguous")


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """Settings of `make_corpus`.

    The default packing is BERT's, because a student's task data look like it: most tasks are pairs, and contiguous windows
    have neither the second token type nor a [SEP] in the middle.
    """

    input: str | None = setting(
        None, "text files or patterns, separated by commas: plain or WikiExtractor's; .bz2, .gz, .xz too"
    )
    tfds: str | None = setting(
        None,
        "instead of --input, a TensorFlow Datasets name: wikipedia, wiki40b or lm1b, with a configuration if need be",
    )
    vocab: str = setting("", "the teacher's vocab.txt", required=True)
    output_dir: str = setting("", "where the corpus is written; gs:// and the like work too", required=True)
    max_seq_length: int = setting(128, "tokens in an example, special tokens included")
    packing: str = setting(
        "documents", "documents: BERT's sentence pairs; contiguous: windows of a document's text, nothing cut away"
    )
    short_seq_prob: float = setting(0.1, "share of the pairs that are made shorter than they could be")
    held_out: float = setting(0.02, "share of each shard's examples that is kept for held-out losses")
    shard_mb: float = setting(4.0, "megabytes of text in a shard, and in memory at a time in each process")
    seed: int = setting(0, "random seed: lengths, and where pairs are divided")
    num_processes: int = setting(1, "processes on this machine; changes the speed, not the result")
    beam_args: str | None = setting(
        None, "run as an Apache Beam pipeline with these arguments, such as --runner=FlinkRunner"
    )

    def __post_init__(self):
        if (self.input is None) == (self.tfds is None):
            raise InputError("give either `input` or `tfds`")
        if self.packing not in PACKINGS:
            raise InputError(f"must be one of {', '.join(PACKINGS)}", "packing", self.packing)
        if not 8 <= self.max_seq_length <= 512:
            raise InputError("must be from 8 to 512", "max_seq_length", self.max_seq_length)
        for name in ("short_seq_prob", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError("is a share, from 0 to below 1", name, getattr(self, name))
        check_positive(self, "shard_mb")
        check_at_least_one(self, "num_processes")
        if self.seed < 0:
            raise InputError("must not be negative", "seed", self.seed)
