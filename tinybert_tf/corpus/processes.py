"""Shards made in several processes of one machine."""

import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Container, Generator, Iterable, Iterator
from typing import Any

from tinybert_tf.corpus.shards import Job, write_shard
from tinybert_tf.corpus.sources import Block
from tinybert_tf.errors import InputError

# A block's share of the text, and its shard's entry in the manifest; None for one that was done before.
Report = tuple[float, dict[str, Any] | None]

# What starting processes takes, with a margin: importing TensorFlow takes most of it.
STARTING_SECONDS = 10.0


def write_shards(job: Job, blocks: Iterable[Block], done: Container[str]) -> Iterator[Report]:
    """Makes the shards of those blocks that are not `done`, in `num_processes` processes.

    At any time each process has one block in memory, and this one the next. Where little is left to do, this one does it.

    Raises:
        InputError: as `write_shard`, or a process was killed.
    """
    blocks = iter(blocks)
    if not (yield from _alone(job, blocks, done)):
        return
    workers = _Workers(job)
    try:
        for block in blocks:
            if block.name in done:
                yield block.share, None
            else:
                yield from workers.give(block)
        while workers.busy:
            yield from workers.reports(wait=True)
    finally:
        workers.end()


def _alone(job: Job, blocks: Iterator[Block], done: Container[str]) -> Generator[Report, None, bool]:
    """Makes shards in this process until it is clear that others, which take seconds to start, would pay; whether they would."""
    started, made, left = time.monotonic(), 0.0, 1.0
    for block in blocks:
        left -= block.share
        if block.name in done:
            yield block.share, None
            continue
        yield block.share, write_shard(job, block)
        made += block.share
        seconds_left = (time.monotonic() - started) * left / max(made, 1e-9)
        if job.settings.num_processes > 1 and seconds_left > STARTING_SECONDS:
            return True
    return False


class _Workers:
    """Processes, each at the other end of a pipe: it says when it is ready, then takes a block and returns a report."""

    def __init__(self, job: Job):
        self._job = job
        self._processes, self._idle, self.busy = {}, [], set()
        # Importing TensorFlow costs seconds: it is done once, in a process that all others are forked from.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        for _ in range(job.settings.num_processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def give(self, block: Block) -> Iterator[Report]:
        """Has a shard made; yields the reports of those that were finished meanwhile."""
        started = len(self._idle) + len(self.busy)
        yield from self.reports(wait=started == len(self._processes) and not self._idle)
        if self._idle:
            worker = self._idle.pop()
            self.busy.add(worker)
            worker.send(block)
        else:
            # A process takes seconds to start: until all have, this one works too.
            yield block.share, write_shard(self._job, block)

    def reports(self, wait: bool) -> Iterator[Report]:
        for worker in multiprocessing.connection.wait(self._processes, None if wait else 0):
            report = self._receive(worker)
            if isinstance(report, InputError):
                raise report
            self.busy.discard(worker)
            self._idle.append(worker)
            if report is not None:
                yield report

    def _receive(self, worker):
        try:
            return worker.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[worker]
            process.join()
        if process.exitcode < 0:
            raise InputError(
                f"a process was ended by {signal.Signals(-process.exitcode).name}, perhaps for want of memory; start again "
                "to go on, with a lower --num_processes or --shard_mb"
            )
        raise RuntimeError(f"a process failed with exit code {process.exitcode}; its error stands above")

    def end(self) -> None:
        for worker, process in self._processes.items():
            process.terminate()
            process.join()
            worker.close()


def _work(job: Job, pipe) -> None:
    """A worker process: makes the shard of each block it is given, until the pipe ends, as it does with the parent."""
    # The parent ends its workers, by SIGTERM; what it ignores itself they would ignore too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        _ = job.tokenizer
        pipe.send(None)
        while True:
            block = pipe.recv()
            pipe.send((block.share, write_shard(job, block)))
    except InputError as error:
        pipe.send(error)
    except (EOFError, BrokenPipeError):
        return
