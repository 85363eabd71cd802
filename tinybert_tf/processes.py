"""Applies a function to many items in several processes of one machine."""

import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tinybert_tf.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(function: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[Result]:
    """`function(item)` for each item, in `count` processes, as results come; in this process and in order for 1.

    At most two items a process are in memory. The processes end with this one, however it ends.

    Args:
        function: importable by its name, as are its arguments and results; it should cache what it needs for all items.
        items: taken when a process is free.
        count: processes.

    Raises:
        InputError: a process was killed; and whatever `function` raises.
    """
    if count <= 1:
        yield from map(function, items)
        return
    # TensorFlow, whose import takes seconds, is imported once, in the process that the others are forked from.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow_text"])
    threads = max(1, _usable_cpus() // count)
    executor = concurrent.futures.ProcessPoolExecutor(count, context, initializer=_begin, initargs=(threads,))
    items, waiting = iter(items), set()
    try:
        while True:
            waiting |= {executor.submit(function, item) for item in itertools.islice(items, 2 * count - len(waiting))}
            if not waiting:
                break
            done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise InputError(
            "a process was killed, perhaps for lack of memory; start again to resume, with a lower `num_processes`"
        ) from None
    finally:
        processes = list((executor._processes or {}).values())  # Python 3.14 has `terminate_workers`
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: those that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin(threads: int) -> None:
    """Prepares a process."""
    # The parent ends its processes by SIGTERM; they would inherit its ignored signals.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
