"""What reading one file may cost."""

import contextlib
import io
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tinybert_tf.errors import InputError

SECONDS = 5.0
MEMORY = 1 << 30


class TookTooLong(BaseException):
    """No Exception, so that no reader takes it for an error of its own."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Limits this process to `seconds` of processor time and `memory` bytes more than it uses now.

    More memory is a MemoryError; the seconds are those of the processor, so that a busy machine fails no test.
    """

    def interrupt(*_):
        raise TookTooLong(f"{seconds} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, before[1]))
    handler = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def is_accepted(read: Callable[[], Any]) -> bool:
    """Whether `read` succeeds; False for an InputError of one printable line. Every other end is an error here, too."""
    try:
        with limited(), contextlib.redirect_stdout(io.StringIO()):
            read()
    except InputError as error:
        message = str(error)
        assert message.isprintable() and 10 < len(message) < 2000, f"no clear line: {message[:300]!r}"
        return False
    return True
