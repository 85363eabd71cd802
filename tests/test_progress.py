"""Progress: log lines at intervals where there is no terminal, a bar on one."""

import doctest
import logging

import pytest

from tinybert_tf import progress
from tinybert_tf.progress import LogHandler, Progress


def test_the_example_runs():
    assert doctest.testmod(progress).failed == 0


def test_a_line_is_logged_every_few_seconds_and_at_the_last_step(caplog, monkeypatch):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(now))
    shown = Progress("finetune", 3, "step", examples=8)
    for step in (1, 2, 3):
        shown.show(step, {"loss": 0.5})
    assert [message.split("  ")[:3] for message in caplog.messages][-1] == ["finetune", "step 3/3", "loss 0.5000"]
    assert len(caplog.messages) < 3 and "examples/s" in caplog.messages[-1]


def test_the_time_left_forgets_a_pause(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    shown = Progress("finetune", 100, "step", examples=32)
    for step in range(1, 41):
        clock[0] += 3600.0 if step == 20 else 10.0
        shown.show(step)
    assert "0 examples/s" in caplog.messages[19] and "3 examples/s  10.0 min left" in caplog.messages[39]
    assert "3 examples/s  13.5 min left" in caplog.messages[18]


def test_nothing_is_shown_where_the_log_is_quiet(caplog):
    caplog.set_level(logging.WARNING, logger="tinybert_tf")
    Progress("finetune", 1, "step").show(1)
    assert not caplog.messages


def test_a_log_line_stands_below_the_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    bar = Progress("dev", 2, "step")
    bar._every = 0.0
    bar.show(1, {"loss": 0.25})
    handler = LogHandler()
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "a line", (), None))
    bar.show(2)
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("\rdev  [============            ] 1/2  loss 0.2500")
    assert lines[1].startswith("\rdev  [========================] 2/2") and lines[2] == ""


@pytest.mark.parametrize("total", [1, 7])
def test_a_bar_ends_full(total, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    bar = Progress("dev", total, "step")
    bar.show(total)
    assert capsys.readouterr().out.endswith("left\n")
