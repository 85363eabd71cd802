"""Data augmentation of a task's training set: into files, with resume (`augment_task`), or in memory (`augment`)."""

import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tinybert_tf.augmentation import parts
from tinybert_tf.augmentation.algorithm import SOURCES, Augmentation, Augmenter, row_hash, words_for_vectors
from tinybert_tf.augmentation.layout import FileLayout
from tinybert_tf.augmentation.masked_lm import MaskedLM
from tinybert_tf.augmentation.parts import AnyLayout, count_parts, part_file, parts_folder
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.augmentation.word_vectors import MEANS, WordVectors
from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data.split import Example, Split, TaskData
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, held, read_json_object, remove, write_json
from tinybert_tf.processes import map_in_processes
from tinybert_tf.progress import Progress
from tinybert_tf.settings import flat_values

# Settings that the output does not depend on: paths (the files have a checksum), and how the work is divided.
_IGNORED = ("data_dir", "masked_lm", "word_vectors", "output_dir", "num_processes", "batch_size", "beam_args", "custom")
# Rows that are shuffled in memory; more are spread over several files first.
_SHUFFLED_ROWS = 1 << 20

logger = logging.getLogger(__name__)


def augment_task(settings: AugmentSettings) -> dict:
    """Augments a task's training set; the result line of `bin/augment.py`.

    `output_dir` then holds the task's folder, usable as a `data_dir`: train.tsv with original and augmented rows in random
    order; the other splits unchanged. For the user's own files the folder is "custom" and holds a file of the same name and
    format as `train_file`. `augmentation.json` is the summary. Until then `parts/` holds finished parts: a killed run is
    resumed from there and ends with the same bytes.

    Returns:
        `task`, `score` (the share of the augmented rows' words that were replaced), `metrics` (counts and shares), `train_file`.

    Raises:
        InputError: bad settings or files; `output_dir` holds a run with other settings, or something else.
    """
    parts.close()
    layout = parts.open_layout(settings)
    job = _describe(settings, layout)
    with held(settings.output_dir):
        return _augmented(settings, layout, job)


def _augmented(settings: AugmentSettings, layout: AnyLayout, job: dict) -> dict:
    """The result of a job, which is done here unless it is finished."""
    output, folder_of_parts = Path(settings.output_dir), parts_folder(settings)
    folder, summary_file = output / layout.folder, output / "augmentation.json"
    if summary_file.is_file():
        summary = read_json_object(summary_file)
        _check_same(summary["job"], job, output)
        if not (folder / layout.train_name).is_file():
            raise InputError(f"{folder / layout.train_name}: is missing; remove {output} and augment again")
        shutil.rmtree(folder_of_parts, ignore_errors=True)  # left by a run that was killed at its very end
        logger.info("%s: is finished already", output)
        if summary.get("other splits") != _named_digests(layout.other_files):
            layout.write_other_splits(folder)
            write_json(summary_file, summary | {"other splits": _named_digests(layout.other_files)})
            logger.info("%s: the dev and test sets have changed and are copied again", folder)
        return summary["result"]
    numbers = _resume(settings, job, folder)
    _write_neighbors(settings, layout)
    if settings.beam_args is None:
        _write_parts(settings, numbers, job["rows"])
    else:
        from tinybert_tf.augmentation.beam import run_pipeline

        run_pipeline(settings, numbers)
    parts.close()
    result, examples = _summarize(settings, job["rows"])
    _assemble(settings, layout, result["metrics"]["rows_written"], job["rows"], folder)
    result["train_file"] = str(folder / layout.train_name)
    others = _named_digests(layout.other_files)
    write_json(summary_file, {"result": result, "examples": examples, "job": job, "other splits": others})
    shutil.rmtree(folder_of_parts)
    _show(result["metrics"], examples)
    return result


def augment(
    data: Split | TaskData,
    masked_lm: str | Path | BertModel | None,
    word_vectors: str | Path | WordVectors | None,
    *,
    tokenizer: Tokenizer | None = None,
    seq_len: int | None = None,
    batch_size: int = 256,
    **settings: int | float | bool,
) -> Split:
    """A split with its augmented rows (the paper's Algorithm 1), held in memory; `bin/augment.py` writes files.

    ```python
    augmented = tb.augment(tb.load_task("sst2", "glue").train, "runs/masked_lm", "glove.6B.300d.txt", copies=20, seed=0)
    ```

    Args:
        data: a split, or a task, whose training set is used.
        masked_lm: a model directory, or a `BertModel` with the head "masked_lm"; None: every candidate from word vectors.
        word_vectors: a GloVe or word2vec text file, or `WordVectors`; None: every candidate from the masked LM.
        tokenizer: the model's, if `masked_lm` is a model and not a directory.
        seq_len, batch_size: see `MaskedLM`.
        settings: the fields of `Augmentation`: `copies`, `replace_probability`, `candidates`, `seed`, ...

    Returns:
        Original and augmented rows in a random order, numbered from 0.

    Raises:
        InputError: bad settings, files or rows.
    """
    algorithm = Augmentation(**settings)
    split = data.train if isinstance(data, TaskData) else data
    if split.has_tags or (isinstance(data, TaskData) and data.task.kind == "token_classification"):
        raise InputError(f"{split.source}: replaced words would lose their tags; augment sentences or pairs")
    rows = list(split)
    if not all(isinstance(row, Example) for row in rows):
        raise InputError(f"{split.source}: rows of questions; bin/augment.py augments SQuAD, into files")
    rows = [row._replace(index=index) for index, row in enumerate(rows)]
    if masked_lm is not None:
        model, tokenizer = _open(masked_lm, tokenizer)
        masked_lm = MaskedLM(
            model,
            tokenizer,
            candidates=algorithm.candidates,
            same_word=algorithm.same_word,
            batch_size=batch_size,
            seq_len=seq_len,
        )
    neighbors = None
    if word_vectors is not None:
        vectors = word_vectors if isinstance(word_vectors, WordVectors) else WordVectors.read(word_vectors)
        texts = [text for row in rows for text in (row.text, row.text_pair) if text]
        words = words_for_vectors(texts, tokenizer if masked_lm else None, algorithm)
        neighbors = vectors.neighbors(words, algorithm.candidates, same_word=algorithm.same_word)
    originals = frozenset(row_hash(row.text, row.text_pair) for row in rows)
    augmenter = Augmenter(algorithm, masked_lm, neighbors, originals)
    augmented, progress = list(rows), Progress("augment", len(rows), "row")
    for start in range(0, len(rows), parts.PART_ROWS):
        augmented += augmenter(rows[start : start + parts.PART_ROWS]).copies
        progress.show(min(start + parts.PART_ROWS, len(rows)))
    progress.close()
    augmented = [row._replace(index=index) for index, row in enumerate(_permuted(augmented, algorithm.seed))]
    return Split(split.name, f"{split.source}, augmented", lambda: iter(augmented))


def _open(masked_lm: str | Path | BertModel, tokenizer: Tokenizer | None) -> tuple[BertModel, Tokenizer]:
    if isinstance(masked_lm, BertModel):
        if tokenizer is None:
            raise InputError("a model by itself has no vocabulary: give its tokenizer")
        return masked_lm, tokenizer
    directory = resolve_directory(masked_lm, "masked_lm")
    return load_model(directory, head="masked_lm", strict_head=True), Tokenizer.from_directory(directory)


def _describe(settings: AugmentSettings, layout: AnyLayout) -> dict:
    """Everything that the output depends on: settings, and checksums of the inputs. Reads, and so checks, every row."""
    rows, count = hashlib.sha256(), 0
    for row in layout.rows(settings.max_train_examples):
        rows.update(layout.line(row.fields))
        count += 1
    own = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in _IGNORED
    }
    described = own | flat_values(own.pop("algorithm"))
    if isinstance(layout, FileLayout):
        described |= {name: getattr(settings.custom, name) for name in layout.reading}
        described["train_file"] = layout.train_name
    described |= {"training set": rows.hexdigest(), "masked LM": "none", "word vectors": "none", "rows": count}
    if settings.uses_masked_lm:
        directory = resolve_directory(settings.masked_lm, "masked_lm")
        head = read_config(directory)[1]
        if head != "masked_lm":
            raise InputError(
                f"has the head {head!r}, not a masked-LM head; train one with bin/pretrain.py, or take every "
                "candidate from word vectors with `masked_lm=none`",
                "masked_lm",
                settings.masked_lm,
            )
        files = (path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
        described["masked LM"] = _digest(sorted(files))
    if settings.uses_word_vectors:
        if not Path(settings.word_vectors).is_file():
            raise InputError(f"no such file; {MEANS}", "word_vectors", settings.word_vectors)
        described["word vectors"] = _digest([Path(settings.word_vectors)])
    return described


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _named_digests(files: Iterable[Path]) -> dict[str, str]:
    return {path.name: _digest([path]) for path in files}


def _check_same(before: dict, now: dict, output: Path) -> None:
    for name in now:
        if before.get(name) != now[name]:
            is_digest = name in ("training set", "masked LM", "word vectors")
            shown = f"another {name}" if is_digest else f"`{name}={before.get(name)}`, not {now[name]}"
            raise InputError(f"{output}: was made with {shown}; give the same to resume, or another `output_dir`")


def _resume(settings: AugmentSettings, job: dict, folder: Path) -> list[int]:
    """The numbers of the parts that are still missing, in an output directory that belongs to this job."""
    directory = parts_folder(settings)
    numbers = range(count_parts(job["rows"]))
    missing = [number for number in numbers if not part_file(settings, number).is_file()]
    if (directory / "job.json").is_file() and len(missing) < len(numbers):
        _check_same(read_json_object(directory / "job.json"), job, directory.parent)
        logger.info("%s: resumed, %d of %d parts are done", directory.parent, len(numbers) - len(missing), len(numbers))
        return missing
    existing = folder if folder.exists() else directory
    if existing.exists() and not (existing == directory and _is_of_a_killed_run(directory)):
        raise InputError(f"{existing}: exists and is not from an augmentation; name another `output_dir`")
    remove(directory)
    write_json(directory / "job.json", job)
    return missing


def _is_of_a_killed_run(directory: Path) -> bool:
    """Whether a folder of parts, none of them finished, is from a run that was killed early, perhaps during removal."""
    return all(
        path.name in ("job.json", "neighbours.json") or re.fullmatch(r"part-\d+\.json|\..*\.partial", path.name)
        for path in directory.glob("*")
    )


def _write_parts(settings: AugmentSettings, numbers: list[int], rows: int) -> None:
    """Makes the parts `numbers` of a training set of `rows`."""
    done = rows - sum(min(parts.PART_ROWS, rows - number * parts.PART_ROWS) for number in numbers)
    progress = Progress("augment", rows, "row", begin=done)
    make, count = functools.partial(parts.write_part, settings), min(settings.num_processes, len(numbers))
    for made in map_in_processes(make, parts.numbered_blocks(settings, numbers), count):
        done += made
        progress.show(done)
    progress.close()


def _write_neighbors(settings: AugmentSettings, layout: AnyLayout) -> None:
    """Looks up the neighbors of all words that need them, once for all processes."""
    path = parts.neighbors_file(settings)
    if not settings.uses_word_vectors or path.is_file():
        return
    tokenizer = parts.open_tokenizer(settings)
    words: set[str] = set()
    for rows in parts.blocks(layout, settings):
        texts = [text for row in rows for text in (row.example.text, row.example.text_pair) if text]
        words |= words_for_vectors(texts, tokenizer, settings.algorithm)
    vectors = WordVectors.read(settings.word_vectors)
    found = vectors.neighbors(words, settings.algorithm.candidates, same_word=settings.algorithm.same_word)
    logger.info("%d word vectors: neighbors of %d of %d words", len(vectors.words), len(found), len(words))
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def _summarize(settings: AugmentSettings, rows: int) -> tuple[dict, list[dict]]:
    """The result, and a few rows before and after."""
    counts, examples = Counter(), []
    for number in range(count_parts(rows)):
        part = read_json_object(part_file(settings, number).with_suffix(".json"))
        counts.update(part["counts"])
        examples += part["examples"]
    replaced = sum(counts[source] for source in SOURCES)
    metrics = {name: counts[name] for name in ("rows", "copies", "duplicates", "words", *SOURCES)}
    metrics |= {
        "rows_written": counts["rows"] + counts["copies"],
        "replaced_share": replaced / max(1, counts["words"]),
        "replacements_per_copy": replaced / max(1, counts["copies"]),
        **{f"{source}_share": counts[source] / max(1, replaced) for source in SOURCES},
    }
    result = {"task": settings.task, "score": metrics["replaced_share"], "metrics": metrics}
    return result, examples[:: len(examples) // parts.SHOWN_EXAMPLES + 1]


def _assemble(settings: AugmentSettings, layout: AnyLayout, written: int, rows: int, folder: Path) -> None:
    """Writes the task's folder: original and augmented rows, and the other splits."""
    original = (layout.line(row.fields) for row in layout.rows(settings.max_train_examples))
    lines = itertools.chain(original, _lines(part_file(settings, number) for number in range(count_parts(rows))))
    if layout.task.kind != "span":  # training keeps all of its windows in memory and shuffles them
        lines = _shuffled(lines, settings.algorithm.seed, -(-written // _SHUFFLED_ROWS), parts_folder(settings))
    with atomic_write(folder) as made:
        made.mkdir()
        layout.write_train(made, lines)
        layout.write_other_splits(made)


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from file


def _shuffled(lines: Iterable[bytes], seed: int, count: int, folder: Path) -> Iterator[bytes]:
    """The lines in a random order, each order equally likely: spread at random over `count` files, each shuffled in memory.

    Training shuffles only the part of a large set that it has in memory.
    """
    if count <= 1:
        yield from _permuted(list(lines), seed)
        return
    paths = [folder / f"shuffle-{number}.partial" for number in range(count)]
    files = [path.open("wb") for path in paths]
    generator = np.random.default_rng((seed, count))
    for line in lines:
        files[generator.integers(count)].write(line)
    for file in files:
        file.close()
    for path in paths:
        yield from _permuted(list(_lines([path])), seed)
        path.unlink()


def _permuted(items: list, seed: int) -> Iterator:
    order = np.random.default_rng((seed, len(items))).permutation(len(items))
    return (items[place] for place in order)


def _show(metrics: dict, examples: list[dict]) -> None:
    logger.info(
        "%d rows, %d augmented ones (%d duplicates dropped); %.2f words replaced in each (%.1f%%), of them %.1f%% by the "
        "masked LM, %.1f%% by word vectors",
        metrics["rows"],
        metrics["copies"],
        metrics["duplicates"],
        metrics["replacements_per_copy"],
        100 * metrics["replaced_share"],
        100 * metrics["masked_lm_share"],
        100 * metrics["word_vectors_share"],
    )
    for example in examples:
        for name, texts in example.items():
            logger.info("%8s  %s", name, "  |  ".join(text for text in texts if text is not None))
