"""The parts made on several machines, as an Apache Beam pipeline (the extra `beam`)."""

import shlex
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tinybert_tf.augmentation.parts import write_parts
from tinybert_tf.augmentation.settings import AugmentSettings

# Each share reads the training set up to its last part and loads the model, so shares should be few and large.
_SHARES, _SMALLEST_SHARE = 128, 4


class WriteParts(beam.DoFn):
    """Makes a share of the parts: a list of their numbers -> the rows of each."""

    def __init__(self, settings: AugmentSettings):
        self._settings = settings

    def process(self, numbers: list[int]) -> Iterator[int]:
        yield from write_parts(self._settings, numbers)


def run_pipeline(settings: AugmentSettings, numbers: Sequence[int]) -> None:
    """Makes the parts `numbers` under `settings.beam_args` and waits for them.

    The paths in `settings` must be on a file system that all machines see under the same names.
    """
    size = max(_SMALLEST_SHARE, -(-len(numbers) // _SHARES))
    shares = [list(numbers[first : first + size]) for first in range(0, len(numbers), size)]
    with beam.Pipeline(options=PipelineOptions(shlex.split(settings.beam_args))) as pipeline:
        _ = (
            pipeline
            | "Shares" >> beam.Create(shares)
            | "Spread" >> beam.Reshuffle()
            | "Augment" >> beam.ParDo(WriteParts(settings))
        )
