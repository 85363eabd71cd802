"""Augments a task's training set into files, resumably and with a summary."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tinybert_tf.augmentation.algorithm import SOURCES, words_for_vectors
from tinybert_tf.augmentation.parts import (
    SHOWN_EXAMPLES,
    AnyLayout,
    blocks,
    count_parts,
    neighbours_file,
    open_layout,
    open_tokenizer,
    part_file,
    parts_folder,
)
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.augmentation.word_vectors import MEANS, WordVectors
from tinybert_tf.augmentation.workers import run_workers
from tinybert_tf.checkpoints import read_config, resolve_directory
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object, remove, write_json, written_aside

# Settings that the output does not follow from: paths (what is read has a digest), and how the work is shared out.
_FREE = ("data_dir", "masked_lm", "word_vectors", "output_dir", "num_processes", "batch_size", "beam_args")


def augment_task(settings: AugmentSettings) -> dict:
    """Augments a task's training set; the result line of `bin/augment.py`.

    `output_dir` then holds the task's folder, usable as a `--data_dir`: train.tsv with all original rows first and the copies
    after them, row by row; the other splits as they were. `augmentation.json` is the summary. Until then `parts/` holds
    what is done: a run that was killed goes on from there and ends with the same bytes.

    Returns:
        `task`, `score` (the share of the copies' words that were replaced), `metrics` (counts and shares).

    Raises:
        InputError: bad settings or files; `output_dir` holds a run with other settings, or something else.
    """
    output, parts = Path(settings.output_dir), parts_folder(settings)
    layout = open_layout(settings)
    folder, summary_file = output / layout.task.folder, output / "augmentation.json"
    job = _describe(settings, layout)
    if summary_file.is_file():
        summary = read_json_object(summary_file)
        _check_same(summary["job"], job, output)
        shutil.rmtree(parts, ignore_errors=True)  # left where a run was killed at its very end
        print(f"{output}: is finished already", flush=True)
        return summary["result"]
    numbers = _take_up(settings, job, folder)
    _write_neighbours(settings, layout)
    if settings.beam_args is None:
        run_workers(settings, numbers, job["rows"])
    else:
        from tinybert_tf.augmentation.beam import run_pipeline

        run_pipeline(settings, numbers)
    result, examples = _summarise(settings, job["rows"])
    _assemble(settings, layout, job["rows"], folder)
    write_json(summary_file, {"result": result, "examples": examples, "job": job})
    shutil.rmtree(parts)
    _show(result["metrics"], examples)
    return result


def _describe(settings: AugmentSettings, layout: AnyLayout) -> dict:
    """All that the output follows from: settings, and digests of what is read. Reads, and so checks, every row."""
    rows, count = hashlib.sha256(), 0
    for row in layout.rows(settings.max_train_examples):
        rows.update(layout.line(row.fields))
        count += 1
    described = {name: value for name, value in dataclasses.asdict(settings).items() if name not in _FREE}
    described |= {"training set": rows.hexdigest(), "masked LM": "none", "word vectors": "none", "rows": count}
    if settings.uses_masked_lm:
        directory = resolve_directory(settings.masked_lm, "--masked_lm")
        head = read_config(directory)[1]
        if head != "masked_lm":
            raise InputError(
                f"--masked_lm={settings.masked_lm}: has the head {head!r} and not that of a masked LM; give its encoder one "
                "with bin/pretrain.py, or take every candidate from word vectors with --masked_lm=none"
            )
        files = (path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
        described["masked LM"] = _digest(sorted(files))
    if settings.uses_word_vectors:
        if not Path(settings.word_vectors).is_file():
            raise InputError(f"--word_vectors={settings.word_vectors}: no such file; {MEANS}")
        described["word vectors"] = _digest([Path(settings.word_vectors)])
    return described


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _check_same(there: dict, here: dict, output: Path) -> None:
    for name in here:
        if there.get(name) != here[name]:
            is_digest = name in ("training set", "masked LM", "word vectors")
            shown = f"another {name}" if is_digest else f"--{name}={there.get(name)}, not {here[name]}"
            raise InputError(f"{output}: was made with {shown}; give the same again to go on, or another --output_dir")


def _take_up(settings: AugmentSettings, job: dict, folder: Path) -> list[int]:
    """The numbers of the parts that are still to be made, in an output directory that belongs to this job."""
    parts = parts_folder(settings)
    numbers = range(count_parts(job["rows"]))
    left = [number for number in numbers if not part_file(settings, number).is_file()]
    if (parts / "job.json").is_file() and len(left) < len(numbers):
        _check_same(read_json_object(parts / "job.json"), job, parts.parent)
        print(f"{parts.parent}: going on, {len(numbers) - len(left)} of {len(numbers)} parts are done", flush=True)
        return left
    there = folder if folder.exists() else parts
    if there.exists() and not (there == parts and _is_of_a_killed_run(parts)):
        raise InputError(f"{there}: exists and is not from an augmentation; name another --output_dir")
    remove(parts)
    write_json(parts / "job.json", job)
    return left


def _is_of_a_killed_run(parts: Path) -> bool:
    """Whether a folder of parts without a finished part is ours: one whose run was killed early, perhaps in clearing it."""
    return all(
        path.name in ("job.json", "neighbours.json") or re.fullmatch(r"part-\d+\.json|\..*\.partial", path.name)
        for path in parts.glob("*")
    )


def _write_neighbours(settings: AugmentSettings, layout: AnyLayout) -> None:
    """Looks up the neighbours of all words that need them, once for all processes."""
    path = neighbours_file(settings)
    if not settings.uses_word_vectors or path.is_file():
        return
    tokenizer = open_tokenizer(settings)
    words: set[str] = set()
    for rows in blocks(layout, settings):
        texts = [text for row in rows for text in (row.example.text, row.example.text_pair) if text]
        words |= words_for_vectors(texts, tokenizer, settings)
    vectors = WordVectors.read(settings.word_vectors)
    found = vectors.neighbours(words, settings.candidates, same_word=settings.same_word)
    print(f"{len(vectors.words)} word vectors: neighbours of {len(found)} of {len(words)} words", flush=True)
    with written_aside(path) as aside:
        aside.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def _summarise(settings: AugmentSettings, rows: int) -> tuple[dict, list[dict]]:
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
    return result, examples[:: len(examples) // SHOWN_EXAMPLES + 1]


def _assemble(settings: AugmentSettings, layout: AnyLayout, rows: int, folder: Path) -> None:
    """Writes the task's folder: original rows, then the parts in their order, and the other splits."""
    with written_aside(folder) as made:
        made.mkdir()
        layout.write_train(
            made, settings.max_train_examples, (part_file(settings, n) for n in range(count_parts(rows)))
        )
        layout.write_other_splits(made)


def _show(metrics: dict, examples: list[dict]) -> None:
    print(
        f"{metrics['rows']} rows, {metrics['copies']} copies ({metrics['duplicates']} duplicates dropped); "
        f"{metrics['replacements_per_copy']:.2f} words replaced a copy ({metrics['replaced_share']:.1%}), "
        f"of them {metrics['masked_lm_share']:.1%} by the masked LM, {metrics['word_vectors_share']:.1%} by word vectors"
    )
    for example in examples:
        for name, texts in example.items():
            print(f"{name:>8}  {'  |  '.join(text for text in texts if text is not None)}")
