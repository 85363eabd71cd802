"""Attention maps show teacher and student on one scale, and refuse what is no attention."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinybert_tf.report.attention_maps import plot_attention

TOKENS = ["[CLS]", "good", "film", "[SEP]"]


def attention(heads, seq=6, seed=0):
    """Rows over the four tokens; two positions of padding that nobody looks at."""
    logits = np.random.default_rng(seed).normal(size=(heads, seq, seq))
    logits[:, :, len(TOKENS) :] = -1e4
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), savefig(self, *a, **k)))
    return figures


def test_a_column_for_each_pair_with_the_teacher_over_the_student(tmp_path, drawn):
    teacher = [attention(12, seed=1), attention(12, seed=2)]
    student = [teacher[0][:6], attention(6, seed=3)]  # a student may have fewer heads
    path = plot_attention(teacher, student, TOKENS, [(1, 3), (2, 6)], tmp_path / "maps.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    maps = drawn[0].axes[:4]
    titles = [axis.get_title(loc="left").split("  ")[0] for axis in maps]
    assert titles == ["layer 3", "layer 6", "layer 1", "layer 2"]
    shown = maps[0].images[0]
    np.testing.assert_allclose(shown.get_array(), teacher[0][:, :4, :4].mean(0), rtol=1e-6)
    assert [label.get_text() for label in maps[0].get_yticklabels()] == TOKENS
    assert len({axis.images[0].norm for axis in maps}) == 1, "one color scale for all"


def test_equal_maps_correlate_fully(tmp_path, drawn):
    maps = [attention(2)]
    plot_attention(maps, maps, TOKENS, [(1, 1)], tmp_path / "maps.png")
    titles = [axis.get_title(loc="left") for axis in drawn[0].axes[:2]]
    assert titles[1].endswith("r = 1.00")


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ([attention(2)], [], "1 of the teacher, 0 of the student"),
        ([attention(2)], [np.log(attention(2) + 1e-9)], "student.*apply the softmax"),
        ([attention(2, seq=6)[:, :3, :3]], [attention(2)], r"teacher.*\(2, 3, 3\) for 4 tokens"),
    ],
)
def test_what_is_no_attention_is_refused(tmp_path, teacher, student, message):
    with pytest.raises(ValueError, match=message):
        plot_attention(teacher, student, TOKENS, [(1, 1)], tmp_path / "maps.png")
    assert not list(tmp_path.iterdir())


def test_dollars_are_no_formula(tmp_path):
    tokens = ["[CLS]", "$PRICE_$", "film", "[SEP]"]
    assert plot_attention([attention(2)], [attention(2)], tokens, [(1, 1)], tmp_path / "maps.png").is_file()
