"""Tries broken inputs on every reader, each in a process of its own, and counts what became of them.

python -m tests.hostile.survey --inputs=400 [--only=NAME]
"""

import argparse
import collections
import dataclasses
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.hostile import text_readers, tflite_readers, weight_readers
from tests.hostile.limits import MEMORY, is_accepted

READERS = text_readers.READERS | weight_readers.READERS | tflite_readers.READERS


@dataclasses.dataclass
class Tally:
    """What became of a reader's inputs; `failure` is a traceback, "" where there was none."""

    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    failure: str = ""


def reading(name: str, folder: Path, count: int) -> tuple[Callable[[], None], collections.Counter[bool]]:
    """A hypothesis test that reads `count` broken inputs, and the counter of those that were accepted (True) and refused."""
    reader = READERS[name]()
    reader.prepare(folder)
    accepted: collections.Counter[bool] = collections.Counter()

    def read(content: bytes) -> None:
        (folder / reader.file).write_bytes(content)
        accepted[is_accepted(lambda: reader.read(folder))] += 1

    steady = settings(
        max_examples=max(1, count // reader.cost),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    return steady(given(reader.inputs)(read)), accepted


def try_inputs(name: str, count: int, folder: Path) -> Tally:
    """Reads `count` broken inputs, the same ones each time; raises for one that ends in more than an InputError."""
    read, accepted = reading(name, folder, count)
    started, before = time.process_time(), _peak()
    read()
    return Tally(accepted[False], accepted[True], time.process_time() - started, _peak() - before)


def _peak() -> float:
    """The most memory that this process has used, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def survey(count: int, names: list[str]) -> Iterator[tuple[str, Tally]]:
    """The tally of each reader, every one in a process that may end as it likes."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hostile-") as root:
            folder = Path(root, "files")
            folder.mkdir()
            here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(target=_child, args=(name, count, folder, there))
            process.start()
            there.close()
            try:
                tally = here.recv()
            except EOFError:
                process.join()
                kept = Path(tempfile.mkdtemp(prefix="hostile-crash-"))
                for file in folder.iterdir():
                    if file.is_file():
                        (kept / file.name).write_bytes(file.read_bytes())
                tally = Tally(failure=f"the process ended with {process.exitcode}; its input is in {kept}")
            process.join()
        if tally.megabytes > MEMORY / 1e6:
            tally.failure = tally.failure or f"{tally.megabytes:.0f} MB"
        yield name, tally


def _child(name: str, count: int, folder: Path, results) -> None:
    tempfile.tempdir = str(folder.parent)  # removed with it, however this process ends
    try:
        results.send(try_inputs(name, count, folder))
    except BaseException:
        results.send(Tally(failure=traceback.format_exc(limit=-6)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=400, help="for each reader; fewer where one takes long")
    parser.add_argument("--only", choices=sorted(READERS))
    arguments = parser.parse_args()
    total, failed = 0, []
    print(f"{'reader':44}{'inputs':>8}{'refused':>9}{'accepted':>9}{'CPU s':>8}{'MB':>6}")
    for name, tally in survey(arguments.inputs, [arguments.only] if arguments.only else list(READERS)):
        count = tally.refused + tally.accepted
        total += count
        end = "FAILED" if tally.failure else ""
        print(
            f"{name:44}{count:8}{tally.refused:9}{tally.accepted:9}{tally.seconds:8.1f}{tally.megabytes:6.0f} {end}",
            flush=True,
        )
        if tally.failure:
            failed.append(name)
            print(tally.failure, file=sys.stderr, flush=True)
    print(f"{total} inputs, {len(failed)} readers failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
