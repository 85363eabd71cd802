"""Settings of bin/augment.py."""

import dataclasses

from tinybert_tf.augmentation.algorithm import Augmentation
from tinybert_tf.augmentation.word_vectors import MEANS
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_at_least_one, nested, setting


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Settings of `augment_task`."""

    task: str = setting(
        "", "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, squad1, squad2, sample or custom", required=True
    )
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    masked_lm: str = setting("", "a model directory with a masked-LM head; none: word vectors only", required=True)
    word_vectors: str | None = setting(None, "a GloVe or word2vec text file; none: the masked LM only")
    output_dir: str = setting("", "where the augmented data is written, usable as a --data_dir", required=True)
    max_train_examples: int | None = setting(None, "augment only the first rows of the training set")
    seq_len: int | None = setting(None, "tokens that the masked LM sees around a word; absent: 128")
    batch_size: int = setting(256, "masked sentences in a forward pass; changes the speed, not the result")
    dtype: str = setting(
        "float32", "of the masked LM; bfloat16 where it is faster: near ties then depend on --batch_size"
    )
    num_processes: int = setting(1, "processes on this machine; changes the speed, not the result")
    beam_args: str | None = setting(
        None, "run as an Apache Beam pipeline with these arguments, such as --runner=FlinkRunner"
    )
    algorithm: Augmentation = nested(Augmentation)
    custom: CustomFiles = nested(CustomFiles)

    def __post_init__(self):
        check_at_least_one(self, "max_train_examples", "batch_size", "num_processes")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError("must be float32 or bfloat16", "dtype", self.dtype)
        if not self.word_vectors:
            raise InputError(f"is missing; {MEANS}", "word_vectors")
        if self.masked_lm == self.word_vectors == "none":
            raise InputError("`masked_lm=none` and `word_vectors=none`: one of them is needed to replace words")

    @property
    def uses_masked_lm(self) -> bool:
        return self.masked_lm != "none"

    @property
    def uses_word_vectors(self) -> bool:
        return self.word_vectors != "none"
