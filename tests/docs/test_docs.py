"""Every command and code block of README and docs runs, in order, each file in a directory of its own."""

import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import is_run, read_blocks

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "tflite" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def run_shell(code: str, prelude: str) -> None:
    done = subprocess.run(["bash", "-c", prelude + code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.docs
@pytest.mark.parametrize("page", [p for p in PAGES if any(map(is_run, read_blocks(p)))], ids=lambda p: p.name)
def test_blocks_of_a_page_run(page, sandbox, shell_prelude):
    namespace: dict = {}
    # Commands first: Python examples read what they wrote.
    for block in sorted(filter(is_run, read_blocks(page)), key=lambda block: block.language != "sh"):
        where = f"{page.relative_to(REPOSITORY)}:{block.line}"
        print(f"running {where}")
        if block.language == "sh":
            run_shell(block.code, shell_prelude)
        else:
            exec(compile(block.code, where, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_block_that_is_not_run_says_why(page):
    for block in read_blocks(page):
        assert not block.note or block.note.startswith("skip, "), f"{page.name}:{block.line}: {block.note!r}"


def test_relative_links_lead_to_files():
    import re

    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)<?([^)#>]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"
