"""The code blocks of a Markdown file, in order."""

import re
from pathlib import Path
from typing import NamedTuple

# A comment before a block says how it is tested: <!-- docs-test: skip, because ... -->
_BLOCK = re.compile(r"(?:<!-- docs-test: (?P<note>.*?) -->\s*)?^```(?P<language>\w*)\n(?P<code>.*?)^```", re.S | re.M)
RUN = ("sh", "python")


class Block(NamedTuple):
    """`line` is that of the block's fence; `note` the comment before it."""

    path: Path
    line: int
    language: str
    code: str
    note: str


def read_blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(path, text.count("\n", 0, m.start("language")) + 1, m["language"], m["code"], m["note"] or "")
        for m in _BLOCK.finditer(text)
    ]


def is_run(block: Block) -> bool:
    return block.language in RUN and not block.note.startswith("skip")
