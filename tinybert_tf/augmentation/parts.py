"""The output in parts, each made from a block of rows, so that a killed run can be resumed."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinybert_tf.augmentation.algorithm import Augmenter, row_hash
from tinybert_tf.augmentation.layout import FileLayout, Layout, Row
from tinybert_tf.augmentation.masked_lm import MaskedLM
from tinybert_tf.augmentation.questions import QuestionAugmenter, QuestionLayout
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.data.load import load_task
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.files import atomic_write, read_json_object, write_json

# A killed run loses at most a few seconds of work.
PART_ROWS = 256
SHOWN_EXAMPLES = 3

AnyLayout = Layout | FileLayout | QuestionLayout


def parts_folder(settings: AugmentSettings) -> Path:
    return Path(settings.output_dir) / "parts"


def part_file(settings: AugmentSettings, number: int) -> Path:
    return parts_folder(settings) / f"part-{number:06d}.rows"


def neighbors_file(settings: AugmentSettings) -> Path:
    return parts_folder(settings) / "neighbours.json"


def count_parts(rows: int) -> int:
    return -(-rows // PART_ROWS)


def blocks(layout: AnyLayout, settings: AugmentSettings) -> Iterator[list[Row]]:
    """The training set, a part's rows at a time."""
    rows = layout.rows(settings.max_train_examples)
    while block := list(itertools.islice(rows, PART_ROWS)):
        yield block


def open_layout(settings: AugmentSettings) -> AnyLayout:
    data = load_task(settings.task, settings.data_dir, settings.custom)
    if data.task.kind == "span":
        return QuestionLayout(data)
    return FileLayout(data, settings.custom) if settings.task in CUSTOM_TASKS else Layout.of(data, settings.data_dir)


def open_tokenizer(settings: AugmentSettings) -> Tokenizer | None:
    """The masked LM's, or None without one."""
    if not settings.uses_masked_lm:
        return None
    return Tokenizer.from_directory(resolve_directory(settings.masked_lm, "masked_lm"))


def write_parts(settings: AugmentSettings, numbers: Sequence[int]) -> Iterator[int]:
    """Writes these parts, in order; yields the number of rows of each."""
    for block in numbered_blocks(settings, numbers):
        yield write_part(settings, block)


def numbered_blocks(settings: AugmentSettings, numbers: Sequence[int]) -> Iterator[tuple[int, list[Row]]]:
    """(number, rows) of these parts, in order. The training set is read up to the last of them."""
    wanted = set(numbers)
    for number, rows in enumerate(blocks(open_layout(settings), settings)):
        if not wanted:
            return
        if number in wanted:
            wanted.remove(number)
            yield number, rows


def write_part(settings: AugmentSettings, block: tuple[int, list[Row]]) -> int:
    """Writes a part; the number of its rows.

    part-N.rows holds the copies, part-N.json what was counted, and a few rows before and after.
    """
    number, rows = block
    path = part_file(settings, number)
    layout, augmenter = _opened(settings)
    copies, counts = augmenter([row.example for row in rows])
    original = {row.example.index: row for row in rows}
    examples = []
    for copy in copies[:: len(copies) // SHOWN_EXAMPLES + 1]:
        before = original[copy.index].example
        examples.append({"before": [before.text, before.text_pair], "after": [copy.text, copy.text_pair]})
    # The rows are written last: they mark the part as done.
    write_json(path.with_suffix(".json"), {"counts": counts, "examples": examples})
    with atomic_write(path) as aside, aside.open("wb") as file:
        file.writelines(layout.line(original[copy.index].fields, copy) for copy in copies)
    return len(rows)


@functools.lru_cache(maxsize=1)
def _opened(settings: AugmentSettings) -> tuple[AnyLayout, Augmenter]:
    layout, algorithm = open_layout(settings), settings.algorithm
    originals = (row.example for row in layout.rows(settings.max_train_examples))
    hashes = frozenset(row_hash(row.text, row.text_pair) for row in originals)
    neighbors = read_json_object(neighbors_file(settings)) if settings.uses_word_vectors else None
    masked_lm = None
    if settings.uses_masked_lm:
        directory = resolve_directory(settings.masked_lm, "masked_lm")
        masked_lm = MaskedLM(
            load_model(directory, head="masked_lm", dtype=settings.dtype, strict_head=True),
            open_tokenizer(settings),
            candidates=algorithm.candidates,
            same_word=algorithm.same_word,
            batch_size=settings.batch_size,
            seq_len=settings.seq_len,
        )
    augmenter = QuestionAugmenter if layout.task.kind == "span" else Augmenter
    return layout, augmenter(algorithm, masked_lm, neighbors, hashes)


def close() -> None:
    """Releases the masked LM and the cached inputs of this process."""
    _opened.cache_clear()
