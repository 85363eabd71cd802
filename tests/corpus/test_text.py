import pytest

from tinybert_tf.corpus.text import Text, documents, is_extracted, last_break
from tinybert_tf.errors import InputError

EXTRACTED = """<doc id="1" url="https://en.wikipedia.org/wiki?curid=1" title="Dunes "high"">
Dunes "high"

Dunes are hills.
Dunes "high"

</doc>

<doc id="2" url="https://en.wikipedia.org/wiki?curid=2" title="Empty">
Empty

</doc>
<doc id="3" title="Sand">
Sand

Sand is loose.
</doc>
"""


def test_blank_lines_part_documents():
    text = Text(b"one\ntwo\r\n\n\n \t\r\nthree\n\n", "file")
    assert [[line.strip() for line in lines] for lines in documents(text)] == [[b"one", b"two"], [b"three"]]


def test_wikipedia_extractor_s_documents_lose_marks_and_title():
    content = EXTRACTED.encode()
    assert is_extracted(content) and not is_extracted(b"A <doc is not a mark here.")
    found = list(documents(Text(content, "file", extracted=True)))
    assert found == [[b"Dunes are hills.", b'Dunes "high"'], [b"Sand is loose."]]


@pytest.mark.parametrize(
    "content", ["a b\n\nc d\n\ne f\n", "a b\r\n\r\nc", "a\nb\nc", "one two", "\u597d" * 5, "x", "\n\n"]
)
def test_a_text_is_parted_where_nothing_is_cut(content):
    content = content.encode()
    for size in range(1, len(content) + 1):
        begin = content[:size]
        end = last_break(begin, extracted=False)
        assert 0 < end <= size
        if b"\n\n" in begin[:-1]:
            assert begin[:end].endswith(b"\n") and not begin[end:].strip().count(b"\n\n")
        if size >= 3:
            begin[:end].decode()  # no character is cut


def test_extracted_text_is_parted_after_a_document():
    content = EXTRACTED.encode()
    end = last_break(content[:-20], extracted=True)
    assert content[:end].endswith(b"</doc>\n") and content[end:].startswith(b'<doc id="3"')


def test_text_that_is_not_utf8_is_refused_by_file_and_line():
    text = Text("good\ncaf\u00e9\n".encode() + b"bad caf\xe9 here\n", "texts/a.txt", position=1000, line=11)
    message = r"texts/a.txt, line 13: not UTF-8 \(invalid continuation byte at byte 1018\); convert the file.*iconv"
    with pytest.raises(InputError, match=message):
        list(documents(text))
