"""Broken files end in success or in one clear line: no traceback, no hang, no flood of memory, no end of the process."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.hostile import survey

QUICK = 25  # for each reader; fewer where one takes long


@pytest.mark.parametrize("name", survey.READERS)
def test_a_broken_file_is_one_clear_line(name, tmp_path):
    tally = survey.try_inputs(name, QUICK, tmp_path)
    assert tally.refused > 0


@pytest.mark.slow
def test_ten_thousand_broken_files():
    """Each reader in a process of its own, which is given 1 GB more than it has and 5 s of a processor for each input."""
    command = [sys.executable, "-m", "tests.hostile.survey", "--inputs=320"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=7200)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert int(re.search(r"^(\d+) inputs", done.stdout, re.MULTILINE)[1]) >= 10_000
