"""Runs with several processes, and runs that are killed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinybert_tf.corpus import make_corpus, read_corpus
from tinybert_tf.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def flags(settings):
    names = ("input", "vocab", "output_dir", "max_seq_length", "shard_mb", "held_out", "num_processes")
    return [f"--{name}={getattr(settings, name)}" for name in names]


def start(settings, **options):
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "bin" / "make_corpus.py"), *flags(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def kill_after(settings, shards, seconds):
    """Starts the program, kills it a number of seconds after a number of shards are done; returns how many are done then."""
    notes = lambda: len(list(Path(settings.output_dir).glob("unfinished/shard-*.json")))
    program = start(settings)
    while program.poll() is None and notes() < shards:
        time.sleep(0.001)
    time.sleep(seconds)
    program.kill()
    program.communicate()
    return notes()


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(settings, contents):
    make_corpus(settings("one"))
    make_corpus(settings("two", num_processes=2))
    assert contents(settings("one").output_dir) == contents(settings("two").output_dir)


@pytest.mark.slow
def test_what_other_processes_find_wrong_is_said_here(settings, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"ban ben\n\n" * 5000 + b"caf\xe9\n")
    with pytest.raises(InputError, match=r"bad.txt, line 10001: not UTF-8"):
        make_corpus(settings(input=str(tmp_path / "bad.txt"), num_processes=2))


def test_a_run_that_was_killed_resumes_to_the_same_bytes(settings, contents, seed):
    make_corpus(settings("whole", shard_mb=0.002))
    broken = settings("broken", shard_mb=0.002)
    moment = random.Random(seed)
    done = kill_after(broken, moment.randrange(1, 8), moment.random() * 0.02)
    assert 0 < done < 20
    with pytest.raises(InputError, match="unfinished"):
        read_corpus(broken.output_dir)
    make_corpus(broken)
    assert contents(broken.output_dir) == contents(settings("whole").output_dir)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_program_in_a_script_s_background_can_be_ended(settings, num_processes):
    """A shell has such a program ignore SIGINT."""
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = start(settings(shard_mb=0.0005, num_processes=num_processes), preexec_fn=ignore)
    while program.poll() is None and not list(Path(settings().output_dir).glob("unfinished/shard-*.json")):
        time.sleep(0.001)
    program.send_signal(signal.SIGTERM)
    printed, _ = program.communicate(timeout=60)
    assert (program.returncode, printed.splitlines()[-1]) == (130, "interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_run_that_was_killed_several_times_ends_with_the_same_bytes(settings, contents, seed, num_processes):
    make_corpus(settings("whole", shard_mb=0.0005))
    broken = settings("broken", shard_mb=0.0005, num_processes=num_processes)
    moment, kills = random.Random(seed), 0
    for _ in range(5):
        before = len(list(Path(broken.output_dir).glob("unfinished/shard-*.json")))
        kill_after(broken, before + moment.randrange(0, 6), moment.random() * 0.01)
        kills += not (Path(broken.output_dir) / "manifest.json").is_file()
    assert kills >= 4
    program = start(broken)
    printed, _ = program.communicate()
    assert program.returncode == 0, printed
    assert "RESULT {" in printed.splitlines()[-1]
    assert contents(broken.output_dir) == contents(settings("whole").output_dir)
    refused = start(settings("broken", max_seq_length=64))
    printed, _ = refused.communicate()
    assert refused.returncode == 1
    assert "error: " in printed.splitlines()[-1] and "was made with --max_seq_length=32, not 64" in printed
