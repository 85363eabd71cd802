"""Small valid files, damaged: the ways in which files are broken by discs, downloads, editors and ill will."""

import json
from collections.abc import Sequence

from hypothesis import strategies as st

# What readers stumble over, wherever it stands.
SPLICES = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n\r\n", b"\t" * 40, b",", b'"', b"'", b"\\", b"{", b"[" * 3000,
    b"}" * 3, b"\x1b[2J", b"\xc3", b"\xed\xa0\x80", "\u2028\u0085\u202e".encode(), b"\\ud800", b"nan", b"-inf", b"1e999",
    b"-1", b"0", b"9" * 5000, b"null", b"true", b"../../escaped", b"<script>alert(1)</script>", b"%s{}{0}", b"A" * 70_000,
    b"a b " * 9000, b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 64, b"PK\x05\x06", b"!!python/object/apply:os.system",
)  # fmt: skip


@st.composite
def damaged(draw, valid: Sequence[bytes]) -> bytes:
    """One of the valid files after one to four damages."""
    content = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        content = draw(st.sampled_from(_DAMAGES))(draw, content)
    return content


def _place(draw, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _flip(draw, content: bytes) -> bytes:
    if not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([content[place] ^ 1 << draw(st.integers(0, 7))]) + content[place + 1 :]


def _cut(draw, content: bytes) -> bytes:
    return content[: _place(draw, content)]


def _without_middle(draw, content: bytes) -> bytes:
    first, second = sorted((_place(draw, content), _place(draw, content)))
    return content[:first] + content[second:]


def _insert(draw, content: bytes) -> bytes:
    place, splice = _place(draw, content), draw(st.sampled_from(SPLICES) | st.binary(max_size=12))
    return content[:place] + splice + content[place:]


def _overwrite(draw, content: bytes) -> bytes:
    place, splice = _place(draw, content), draw(st.sampled_from(SPLICES) | st.binary(max_size=12))
    return content[:place] + splice + content[place + len(splice) :]


def _repeat(draw, content: bytes) -> bytes:
    first, second = sorted((_place(draw, content), _place(draw, content)))
    return content[:second] + content[first:second] * draw(st.sampled_from((1, 2, 200))) + content[second:]


def _other_encoding(draw, content: bytes) -> bytes:
    encoding = draw(st.sampled_from(("utf-16", "utf-32-le", "latin-1", "cp037", "utf-8-sig")))
    return content.decode("utf-8", "replace").encode(encoding, "replace")


def _lone_carriage_returns(draw, content: bytes) -> bytes:
    return content.replace(b"\n", draw(st.sampled_from((b"\r", b"\r\n", b"\n\n", b"\n\r", b" "))))


def _exchange_number(draw, content: bytes) -> bytes:
    """A number somewhere becomes another."""
    digits = [place for place, byte in enumerate(content[:5000]) if 48 <= byte < 58]
    if not digits:
        return content
    place = draw(st.sampled_from(digits))
    value = draw(
        st.sampled_from((b"-1", b"0", b"1e9", b"99999999999", b"9" * 400, b"NaN", b'"x"', b"[]", b"null", b"0.5"))
    )
    return content[:place] + value + content[place + 1 :]


def _truncate_to_nothing(draw, content: bytes) -> bytes:
    return b""


_DAMAGES = (
    *(_flip, _flip, _cut, _without_middle, _insert, _insert, _overwrite, _repeat),
    *(_other_encoding, _lone_carriage_returns, _exchange_number, _exchange_number, _truncate_to_nothing),
)

# === Texts and values that are broken in themselves ===

HOSTILE_TEXTS = (
    "", " ", "\x00", "a\rb", "a\nb", 'say "no', "\t", ",", "\u2028", "\ufeff", "\x1b[31m", "\U0001f600", "café", "\ud800",
    "<script>alert(1)</script>", "../../escaped", "nan", "inf", "-0", "1e400", "9" * 5000, "0x10", "1_000", "²", "x" * 20_000,
    "[PAD]", "[SEP]", "##", "__proto__", "${HOME}", "=cmd()", "LABEL_0",
)  # fmt: skip

texts = st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=12)
utf8_texts = texts.filter(lambda text: text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
numbers = st.one_of(
    st.sampled_from((0, -1, 1, 2**31, 2**63, 10**30, 10**9, 10**6, 0.5, -0.0, float("inf"), float("nan"), True, False)),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    st.none() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def altered(draw, valid: Sequence) -> object:
    """A JSON value with one to three of its places, at any depth, replaced, removed or doubled."""
    value = json.loads(json.dumps(draw(st.sampled_from(valid))))
    for _ in range(draw(st.integers(1, 3))):
        value = _altered_once(draw, value)
    return value


def _altered_once(draw, value):
    if not isinstance(value, list | dict) or not value or draw(st.integers(0, 5)) == 0:
        return draw(values)
    key = draw(st.sampled_from(list(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))
    change = draw(st.sampled_from(("deeper", "deeper", "deeper", "removed", "doubled", "renamed")))
    if change == "removed":
        del value[key]
    elif change == "doubled" and isinstance(value, list):
        value.append(value[key])
    elif change == "renamed" and isinstance(value, dict):
        value[draw(texts)] = value.pop(key)
    else:
        value[key] = _altered_once(draw, value[key])
    return value


def json_files(valid: Sequence) -> st.SearchStrategy[bytes]:
    """JSON files of the right form with the wrong things in them."""
    return altered(valid).map(lambda value: json.dumps(value).encode())
