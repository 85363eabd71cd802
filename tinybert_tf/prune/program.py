"""The program `bin/prune.py`."""

import dataclasses
import logging

from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP, TASK_HELP, DataSettings, check_read
from tinybert_tf.errors import InputError
from tinybert_tf.prune.prune import prune
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.texts import Texts, file_lines, split_texts
from tinybert_tf.settings import check_at_least_one, check_seed, nested, setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PruneSettings:
    """A model, its new sizes, and the texts that importance is measured on."""

    model_dir: str = setting("", "the model directory or preset that is pruned", required=True)
    output_dir: str = setting("", "the model directory that is written", required=True)
    teacher: str | None = setting(
        None, "a teacher whose vocabulary is cut in the same way, written to teacher/ in the output directory"
    )
    sizes: Sizes = nested(Sizes)
    target_mb: float | None = setting(None, "largest int8 file; sizes that are not given are chosen for it")
    target_ms: float | None = setting(None, "longest median time of the int8 file on one thread of this machine")
    whole_rows: int | None = setting(
        None, "rows of the word table that stay whole; the others become codes, which files with integer weights store"
    )
    text_file: str | None = setting(None, "texts like those that the model will see, one a line")
    task: str | None = setting(None, f"take the texts of this task's training set: {TASK_HELP}")
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    custom: CustomFiles = nested(CustomFiles)
    seq_len: int = setting(128, "longest length in tokens, and that of the int8 file")
    seed: int = setting(0, "random seed")

    def __post_init__(self):
        check_seed(self.seed)
        check_at_least_one(self, "seq_len", "whole_rows")
        for name in ("target_mb", "target_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError("must be above 0", name, value)
        check_read(self.task, self.data_dir, self.custom)
        if self.text_file is None and self.task is None:
            raise InputError("is missing; importance is measured on the texts of `text_file` or of `task`", "text_file")

    def texts(self) -> tuple[Texts, Texts | None]:
        """(texts, held-out texts): those of the file, or the training and dev set of the task."""
        if self.task is None:
            return file_lines(self.text_file), None
        data = DataSettings(task=self.task, data_dir=self.data_dir, custom=self.custom).load()
        texts, held_out = split_texts(data.train), split_texts(data.dev)
        if self.text_file is not None:
            lines = file_lines(self.text_file)
            return Texts(lambda: (text for source in (texts, lines) for text in source)), held_out
        return texts, held_out


def prune_model(settings: PruneSettings) -> dict:
    """Prunes a model directory; the result of `bin/prune.py`."""
    texts, held_out = settings.texts()
    report = prune(
        settings.model_dir,
        settings.output_dir,
        texts,
        held_out=held_out,
        teacher=settings.teacher,
        seq_len=settings.seq_len,
        target_mb=settings.target_mb,
        target_ms=settings.target_ms,
        whole_rows=settings.whole_rows,
        seed=settings.seed,
        **settings.sizes.given,
    )
    if report.coverage:
        found = report.coverage
        logger.info(
            "coverage of %d held-out words: pieces per word %.3f before, %.3f after; [UNK] %.3f%% before, %.3f%% after",
            found.words,
            found.pieces_per_word_before,
            found.pieces_per_word_after,
            100 * found.unknown_before,
            100 * found.unknown_after,
        )
    return dataclasses.asdict(report)
