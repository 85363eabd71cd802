"""The corpus made on several machines, as an Apache Beam pipeline (the extra `beam`)."""

import functools
import shlex
from collections.abc import Container, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tinybert_tf.corpus.settings import CorpusSettings
from tinybert_tf.corpus.shards import Job, write_shard
from tinybert_tf.corpus.sources import Block, open_source, read_blocks


class ReadBlocks(beam.DoFn):
    """Reads a group of the source: (its number, the group) -> the blocks of it that are not `done`."""

    def __init__(self, settings: CorpusSettings, done: Container[str]):
        self._settings, self._done = settings, done

    def setup(self):
        self._source = open_source(self._settings)

    def process(self, numbered_group: tuple[int, Any]) -> Iterator[Block]:
        yield from (block for block in read_blocks(self._source, *numbered_group) if block.name not in self._done)


def run_pipeline(job: Job, done: Container[str]) -> None:
    """Makes the shards that are not `done` under `job.settings.beam_args`, and waits for them.

    The input and `output_dir` must be on a file system that all machines see under the same names.
    """
    groups = list(enumerate(open_source(job.settings).groups()))
    with beam.Pipeline(options=PipelineOptions(shlex.split(job.settings.beam_args))) as pipeline:
        _ = (
            pipeline
            | "Groups" >> beam.Create(groups)
            | "Spread groups" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(ReadBlocks(job.settings, done))
            | "Spread blocks" >> beam.Reshuffle()
            | "Write" >> beam.Map(functools.partial(write_shard, job))
        )
