"""A function in several processes; a process that is killed ends the run in one line."""

import os
import signal

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.processes import _usable_cpus, map_in_processes


def double_or_die(number):
    if number == 3:
        raise InputError("three", "number", 3)
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number, os.getpid()


def test_one_process_is_this_one_and_keeps_the_order():
    assert list(map_in_processes(double_or_die, [1, 2], 1)) == [(2, os.getpid()), (4, os.getpid())]


@pytest.mark.slow
def test_several_processes_and_their_errors():
    found = list(map_in_processes(double_or_die, iter((1, 2, 4, 6, 8)), 2))
    assert sorted(number for number, _ in found) == [2, 4, 8, 12, 16]
    assert os.getpid() not in {process for _, process in found}
    with pytest.raises(InputError, match="number=3: three") as refused:
        list(map_in_processes(double_or_die, [3, 1], 2))
    assert refused.value.parameter == "number"
    with pytest.raises(
        InputError, match="a process was killed, .* start again to resume, with a lower `num_processes`"
    ):
        list(map_in_processes(double_or_die, [5, 1, 2], 2))


def test_systems_that_do_not_tell_a_processs_cpus_count_all(monkeypatch):
    """Such as macOS."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert _usable_cpus() == 6
