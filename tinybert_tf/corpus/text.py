"""Plain text and WikiExtractor's layout: documents, and positions where a text can be split."""

import dataclasses
import re
from collections.abc import Iterator

from tinybert_tf.errors import InputError

_TITLE = re.compile(rb'title="(.*)">$')


@dataclasses.dataclass(frozen=True)
class Text:
    """Documents of one source as UTF-8; a document that is longer than a block continues in the next text.

    Attributes:
        content: the bytes.
        source: the file or data set, for error messages.
        position: at which byte of its (unpacked) file the text begins.
        line: the number of its first line.
        extracted: the layout is WikiExtractor's, `<doc ... title="Title">`, a line with the title, text, `</doc>`; otherwise
            plain, with blank lines between documents.
    """

    content: bytes
    source: str
    position: int = 0
    line: int = 1
    extracted: bool = False


def is_extracted(content: bytes) -> bool:
    """Whether a file with this beginning has WikiExtractor's layout."""
    return content.lstrip().startswith(b"<doc ")


def last_break(content: bytes, extracted: bool) -> int:
    """The position to split a text at: the end of a document, else of a line, else of a word, else of a character."""
    if extracted:
        document = content.rfind(b"</doc>")
        end = content.find(b"\n", document) + 1 if document >= 0 else 0
    else:
        end = max(content.rfind(b"\n\n"), content.rfind(b"\n\r\n")) + 1
    end = end or content.rfind(b"\n") + 1 or content.rfind(b" ") + 1
    if not end:
        end = len(content) - 1
        while end and content[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
    return end or len(content)


def documents(text: Text) -> Iterator[list[bytes]]:
    """The lines of each document, blank ones left out.

    Raises:
        InputError: the text is not UTF-8.
    """
    try:
        text.content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.line + text.content.count(b"\n", 0, error.start)
        raise InputError(
            f"{text.source}, line {line}: not UTF-8 ({error.reason} at byte {text.position + error.start}); convert the file, "
            "for example with iconv -f LATIN1 -t UTF-8"
        ) from None
    lines = text.content.split(b"\n")
    return _extracted(lines) if text.extracted else _plain(lines)


def _plain(lines: list[bytes]) -> Iterator[list[bytes]]:
    document = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield document
            document = []
    if document:
        yield document


def _extracted(lines: list[bytes]) -> Iterator[list[bytes]]:
    document, title = [], None
    for line in map(bytes.strip, lines):
        if line.startswith(b"<doc ") or line == b"</doc>":
            if document:
                yield document
            found = _TITLE.search(line)
            document, title = [], found and found[1]
        elif line:
            if line != title:
                document.append(line)
            title = None  # only the first line is the title
    if document:
        yield document
