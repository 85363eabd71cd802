"""Makes a corpus: a shard for each block of text, in this process, in several, or on several machines."""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

import tensorflow as tf

from tinybert_tf.corpus.reader import read_corpus
from tinybert_tf.corpus.settings import CorpusSettings
from tinybert_tf.corpus.shards import (
    JOB,
    MANIFEST,
    SPLITS,
    UNFINISHED,
    Job,
    noted_shards,
    read_record,
    write_bytes,
    write_shard,
)
from tinybert_tf.corpus.sources import Block, open_source, read_blocks
from tinybert_tf.errors import InputError
from tinybert_tf.files import held, writing
from tinybert_tf.presets import locate
from tinybert_tf.processes import map_in_processes
from tinybert_tf.tokenizer_files import FAST_FILE, open_vocabulary, read_vocabulary
from tinybert_tf.versions import version
from tinybert_tf.vocabulary import SETTINGS_FILE, VOCABULARY_FILE

_FURTHER = ("strip_accents", "normalization", "added_tokens_decoder")  # of tokenizer_config.json
_PACKAGES = ("tinybert_tf", "tensorflow", "tensorflow-text", "numpy")
# Settings that the result does not depend on, or whose files have checksums.
_IGNORED = ("input", "tfds", "vocab", "output_dir", "num_processes", "beam_args")
_SHOW_SECONDS = 10.0

logger = logging.getLogger(__name__)


def make_corpus(settings: CorpusSettings) -> dict[str, Any]:
    """Makes a corpus of mask-free examples for general distillation and pre-training; the result of bin/make_corpus.py.

    `output_dir` then holds train-*.tfrecord.gz and held_out-*.tfrecord.gz, vocab.txt and tokenizer_config.json as in a model
    directory, and manifest.json. Until the manifest is written, `unfinished/` notes finished shards: a killed run is resumed
    from there and ends with the same bytes.

    Returns:
        `documents`, `tokens`, `examples`, `held_out_examples`, `shards`, `seconds`.

    Raises:
        InputError: bad settings or text; `output_dir` holds a corpus with other settings, or something else.
    """
    started = time.monotonic()
    job, source = _open(settings)
    description = _describe(job, source)
    with held(settings.output_dir):
        manifest = _made(job, source, description)
    return manifest["counts"] | {"seconds": round(time.monotonic() - started, 1)}


def _made(job: Job, source, description: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the corpus, which is made here unless it is finished."""
    settings = job.settings
    manifest = _read(settings.output_dir, MANIFEST)
    if manifest:
        _check_same(manifest, description, settings.output_dir)
        read_corpus(settings.output_dir)  # names a file that is missing
        logger.info("%s: is finished already", settings.output_dir)
    else:
        done = _resume(job, description)
        if settings.beam_args is not None:
            from tinybert_tf.corpus.beam import run_pipeline

            run_pipeline(job, done)
        else:
            _run_here(job, source, done)
        manifest = _finish(job, description)
    _remove(settings.output_dir, UNFINISHED)
    return manifest


def _open(settings: CorpusSettings) -> tuple[Job, Any]:
    path = locate(settings.vocab) or Path(settings.vocab)
    # A model directory also has its tokenizer's settings.
    directory = path.parent if path.name in (VOCABULARY_FILE, FAST_FILE) else path
    vocabulary = open_vocabulary(directory) if directory.is_dir() else read_vocabulary(path)
    return Job(settings, vocabulary), open_source(settings)


def _describe(job: Job, source) -> dict[str, Any]:
    """Everything that the result depends on: settings, text, vocabulary, and versions of packages."""
    return {
        "settings": {name: value for name, value in dataclasses.asdict(job.settings).items() if name not in _IGNORED},
        "text": source.describe(),
        "vocabulary": {
            "sha256": hashlib.sha256(job.vocabulary.content()).hexdigest(),
            "words": len(job.vocabulary.words),
            "lower_case": job.vocabulary.lower_case,
            # Only non-default values, so that manifests of earlier versions stay equal.
            **{name: value for name, value in job.vocabulary.settings().items() if name in _FURTHER},
        },
        "versions": {package: version(package) for package in _PACKAGES},
    }


def _check_same(before: dict[str, Any], now: dict[str, Any], output_dir: str) -> None:
    remedy = "give the same to resume, or another `output_dir`"
    for name, value in now["settings"].items():
        if before["settings"].get(name) != value:
            raise InputError(
                f"{output_dir}: was made with `{name}={before['settings'].get(name)}`, not {value}; {remedy}"
            )
    for name in ("text", "vocabulary"):
        if before[name] != now[name]:
            raise InputError(f"{output_dir}: was made with another {name}; {remedy}")


def _resume(job: Job, description: dict[str, Any]) -> set[str]:
    """The names of the shards that are done already, in an output directory that belongs to this job."""
    output_dir = job.settings.output_dir
    begun = _read(output_dir, JOB)
    files = tf.io.gfile.listdir(output_dir) if tf.io.gfile.exists(output_dir) else []
    files = [name.rstrip("/") for name in files if name.rstrip("/") != UNFINISHED]
    if begun is None and files:
        raise InputError(f"{output_dir}: holds {files[0]} and is not a corpus; name another `output_dir`")
    done = set(noted_shards(output_dir))
    if done:
        _check_same(begun, description, output_dir)
        logger.info("%s: resumed, %d shards are done", output_dir, len(done))
    else:
        for name in files:
            if name.startswith(SPLITS):  # of a shard that was not finished, perhaps with other settings
                _remove(output_dir, name)
        with writing(output_dir):
            tf.io.gfile.makedirs(os.path.join(output_dir, UNFINISHED))
        write_bytes(output_dir, JOB, json.dumps(description).encode())
    return done


def _run_here(job: Job, source, done: Container[str]) -> None:
    blocks = (block for number, group in enumerate(source.groups()) for block in read_blocks(source, number, group))
    blocks = (block for block in blocks if block.name not in done)
    started = shown = time.monotonic()
    finished = tokens = 0.0
    for share, made in map_in_processes(functools.partial(_write_block, job), blocks, job.settings.num_processes):
        finished, tokens, now = finished + share, tokens + made, time.monotonic()
        if now - shown >= _SHOW_SECONDS:
            shown, rate = now, tokens / (now - started) / 1e6
            logger.info("corpus  %.0f%% of the text  %.1f million tokens/s", 100 * min(finished, 1), rate)


def _write_block(job: Job, block: Block) -> tuple[float, int]:
    """Makes a block's shard; the block's share of the text, and its tokens."""
    return block.share, write_shard(job, block)["tokens"]


def _finish(job: Job, description: dict[str, Any]) -> dict[str, Any]:
    """Writes the vocabulary and, last of all, the manifest."""
    output_dir = job.settings.output_dir
    shards = list(noted_shards(output_dir).values())
    of_split = lambda split: sum(shard[split]["examples"] for shard in shards if split in shard)
    counts = {name: sum(shard[name] for shard in shards) for name in ("documents", "tokens")}
    counts |= {"examples": of_split("train"), "held_out_examples": of_split("held_out"), "shards": len(shards)}
    if not counts["examples"]:
        raise InputError("the text has no words; give other text")
    manifest = description | {"counts": counts, "shards": shards}
    # As in a model directory, so that a new network can use them.
    write_bytes(output_dir, VOCABULARY_FILE, job.vocabulary.content())
    write_bytes(output_dir, SETTINGS_FILE, (json.dumps(job.vocabulary.settings(), indent=2) + "\n").encode())
    write_bytes(output_dir, MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def _read(output_dir: str, name: str) -> dict[str, Any] | None:
    path = os.path.join(output_dir, name)
    return read_record(path) if tf.io.gfile.exists(path) else None


def _remove(output_dir: str, name: str) -> None:
    path = os.path.join(output_dir, name)
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)
