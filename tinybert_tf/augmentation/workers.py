"""Several processes on one machine, each making its share of the parts."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Sequence

from tinybert_tf.augmentation.parts import PART_ROWS, count_parts, write_parts
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.errors import InputError

_SHOW_SECONDS = 10.0


class Progress:
    """A line every few seconds: rows done, rows/s, time left."""

    def __init__(self, rows: int):
        self.rows, self.done = rows, 0
        self._started = self._shown = time.monotonic()

    def add(self, rows: int) -> None:
        self.done += rows
        now = time.monotonic()
        if self.done < self.rows and now - self._shown < _SHOW_SECONDS:
            return
        self._shown = now
        rate = self.done / max(1e-9, now - self._started)
        left = (self.rows - self.done) / rate
        print(f"augment  row {self.done}/{self.rows}  {rate:.1f} rows/s  {left / 60:.1f} min left", flush=True)


def run_workers(settings: AugmentSettings, numbers: Sequence[int], rows: int) -> None:
    """Makes the parts `numbers` of a training set of `rows` in `settings.num_processes` processes; one is this very one.

    Raises:
        InputError: as `write_parts`, or a process was killed.
    """
    last = count_parts(rows) - 1
    progress = Progress(sum(rows - last * PART_ROWS if number == last else PART_ROWS for number in numbers))
    count = min(settings.num_processes, len(numbers))
    if count <= 1:
        for made in write_parts(settings, numbers):
            progress.add(made)
        return
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    shares = [numbers[first::count] for first in range(count)]
    workers = [context.Process(target=_work, args=(settings, share, threads, reports)) for share in shares]
    for worker in workers:
        worker.start()
    try:
        _follow(workers, reports, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _follow(workers: Sequence, reports, progress: Progress) -> None:
    """Takes the workers' reports until all of them have ended."""
    running = {worker.sentinel: worker for worker in workers}
    while running:
        ended = multiprocessing.connection.wait(running, timeout=0.5)
        while not reports.empty():
            report = reports.get()
            if isinstance(report, InputError):
                raise report
            progress.add(report)
        for sentinel in ended:
            worker = running.pop(sentinel)
            worker.join()
            code = worker.exitcode
            if code < 0:
                raise InputError(
                    f"a process was ended by {signal.Signals(-code).name}, perhaps for want of memory; "
                    "start again to go on, with a lower --num_processes"
                )
            if code > 0:
                raise RuntimeError(f"a process failed with exit code {code}; its error stands above")


def _work(settings: AugmentSettings, numbers: Sequence[int], threads: int, reports) -> None:
    """A worker process: makes its parts and reports the rows of each, or the error."""
    # The parent ends its workers, by SIGTERM; what it ignores itself they would ignore too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        for rows in write_parts(settings, numbers):
            reports.put(rows)
    except InputError as error:
        reports.put(error)


def _end_with_parent() -> None:
    """Ends this process once the one that started it is gone, however that ended."""
    multiprocessing.parent_process().join()
    os._exit(1)
