"""Progress of a long computation: a bar on a terminal, a log line every few seconds elsewhere."""

import collections
import logging
import sys
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)

_LINE_SECONDS, _BAR_SECONDS = 10.0, 0.2
# The rate is that of the last two minutes: it forgets the tracing of the first step, and a suspended process.
_RATE_SECONDS = 120.0
_BAR_WIDTH = 24


class Progress:
    """Shows rate and time left of a computation with a known number of parts.

    Nothing is shown if this package's log is off (programs: `--quiet`).

    >>> progress = Progress("dev", 2)
    >>> for done in (1, 2):
    ...     progress.show(done)
    >>> progress.close()

    Args:
        name: what is computed.
        total: its parts.
        unit: what a part is.
        examples: examples in a part, for the rate.
        begin: parts finished by an earlier process.
    """

    def __init__(self, name: str, total: int, unit: str = "example", examples: int = 1, begin: int = 0):
        self.name, self.total, self.unit, self.examples = name, total, unit, examples
        self._is_bar = sys.stdout.isatty()
        self._every = _BAR_SECONDS if self._is_bar else _LINE_SECONDS
        self._shown = time.perf_counter()
        self._times = collections.deque([(self._shown, begin)])  # (when, parts finished then)

    def is_due(self, done: int) -> bool:
        """Whether `show` would show something now."""
        last = done == self.total and self.unit == "step"
        return last or time.perf_counter() - self._shown >= self._every

    def show(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Shows that `done` of the parts are finished, if some seconds have passed.

        Args:
            done: parts so far, `begin` included.
            values: means to show, such as losses.
        """
        if not (self.is_due(done) and logger.isEnabledFor(logging.INFO)):
            return
        now = time.perf_counter()
        while len(self._times) > 1 and self._times[1][0] <= now - _RATE_SECONDS:
            self._times.popleft()
        since, finished = self._times[0]
        self._times.append((now, done))
        rate = (done - finished) * self.examples / max(1e-9, now - since)
        left = (self.total - done) * self.examples / max(1e-9, rate) / 60
        parts = "".join(f"{name} {value:.4f}  " for name, value in (values or {}).items())
        text = f"{parts}{rate:.0f} examples/s  {left:.1f} min left"
        self._shown = now
        if not self._is_bar:
            logger.info("%s  %s %d/%d  %s", self.name, self.unit, done, self.total, text)
            return
        filled = "=" * round(_BAR_WIDTH * done / self.total)
        _draw(f"{self.name}  [{filled:<{_BAR_WIDTH}}] {done}/{self.total}  {text}")
        if done == self.total:
            self.close()

    def close(self) -> None:
        """Ends the bar's line."""
        if self._is_bar:
            _end_line()


class LogHandler(logging.StreamHandler):
    """Writes log lines to a stream without overwriting a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        _end_line()
        super().emit(record)


_drawn = ""  # the bar that is on the terminal's last line


def _draw(text: str) -> None:
    global _drawn
    print(f"\r{text:<{len(_drawn)}}", end="", flush=True)
    _drawn = text


def _end_line() -> None:
    global _drawn
    if _drawn:
        print(flush=True)
    _drawn = ""
