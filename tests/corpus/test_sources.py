import bz2
import gzip
import lzma

import pytest

from tinybert_tf.corpus.sources import TextFiles, read_blocks
from tinybert_tf.errors import InputError


def all_blocks(source):
    return [block for number, group in enumerate(source.groups()) for block in read_blocks(source, number, group)]


def content(blocks):
    return b"".join(text.content for block in blocks for text in block.texts)


@pytest.mark.parametrize("block_bytes", [7, 300, 5_000, 1_000_000])
def test_blocks_together_are_the_text(text_file, block_bytes):
    blocks = all_blocks(TextFiles(str(text_file), block_bytes))
    assert content(blocks) == text_file.read_bytes()
    assert sum(block.share for block in blocks) == pytest.approx(1)
    assert len({block.name for block in blocks}) == len(blocks)
    assert [block.name for block in blocks] == sorted(block.name for block in blocks)
    sizes = [len(content([block])) for block in blocks]
    assert max(sizes) <= 1.5 * block_bytes
    assert len(sizes) == 1 or min(sizes[:-1]) >= block_bytes / 2
    line, position = 1, 0
    for text in (text for block in blocks for text in block.texts):
        assert (text.line, text.position) == (line, position)
        line, position = line + text.content.count(b"\n"), position + len(text.content)


def test_packed_files_give_the_same_blocks(text_file, tmp_path):
    plain = text_file.read_bytes()
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "text.txt.xz").write_bytes(lzma.compress(plain))
    texts = lambda path: [[text.content for text in block.texts] for block in all_blocks(TextFiles(str(path), 5000))]
    expected = texts(text_file)
    assert texts(tmp_path / "text.txt.gz") == expected
    (tmp_path / "text.txt.bz2").write_bytes(bz2.compress(plain))
    assert texts(tmp_path / "text.txt.bz2") == expected
    assert texts(tmp_path / "text.txt.xz") == expected


def test_small_files_share_a_block_and_patterns_are_sorted(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"file {name}\n")
    blocks = all_blocks(TextFiles(f"{tmp_path}/c.txt,{tmp_path}/*.txt", 1000))
    assert len(blocks) == 1 and content(blocks) == b"file c\nfile a\nfile b\n"
    assert len(all_blocks(TextFiles(f"{tmp_path}/*.txt", 1))) > 1


def test_a_line_of_10_000_words_goes_through_blocks_whole(tmp_path):
    line = " ".join(f"word{number}" for number in range(10_000)).encode()
    (tmp_path / "long.txt").write_bytes(line + b"\n")
    blocks = all_blocks(TextFiles(str(tmp_path / "long.txt"), 1000))
    assert len(blocks) > 50 and content(blocks) == line + b"\n"
    words = [text.content.split() for block in blocks for text in block.texts]
    assert [word for part in words for word in part] == line.split()  # no word is cut


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "mark.txt").write_bytes(b"\xef\xbb\xbf<doc title='x'>\nfirst\n</doc>\n")
    (block,) = all_blocks(TextFiles(str(tmp_path / "mark.txt"), 1000))
    assert block.texts[0].extracted and block.texts[0].content.startswith(b"<doc")


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("empty.txt", b"", "empty.txt: is empty"),
        ("blank.txt", b"\n \n" * 50, "blank.txt: holds no text"),
        ("broken.gz", b"no gzip", "broken.gz: cannot be unpacked"),
        ("broken.xz", b"no xz", "broken.xz: cannot be unpacked"),
        ("broken.bz2", b"BZh9" + b"none" * 9, "broken.bz2: cannot be unpacked"),
        ("text.txt", b'{"id": "7", "text": "one"}\n', r"is no plain text but JSON lines; .*without --json"),
        ("wiki_00", bz2.compress(b"text " * 9), r"is no plain text but packed by bzip2; name it \.bz2"),
        ("text.parquet", b"PAR1\x15\x04", "is no plain text but a Parquet file"),
        ("cut.gz", gzip.compress(b"text " * 1000, mtime=0)[:-20], "cut.gz: cannot be unpacked"),
    ],
)
def test_files_without_text_are_refused_by_name(tmp_path, name, written, message):
    (tmp_path / name).write_bytes(written)
    with pytest.raises(InputError, match=message):
        all_blocks(TextFiles(str(tmp_path / name), 20))


def test_names_without_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"input=.*none-\*\.txt: no such file"):
        TextFiles(f"{tmp_path}/none-*.txt", 1000)
    with pytest.raises(InputError, match="is a directory; name its files"):
        TextFiles(str(tmp_path), 1000)
    with pytest.raises(InputError, match="names no file"):
        TextFiles(" , ", 1000)
