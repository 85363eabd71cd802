"""A report's pictures and comparison of two networks."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import save_model
from tinybert_tf.data import load_task
from tinybert_tf.distill.rivals import build_bilstm
from tinybert_tf.pipeline.diagnosis import diagnose
from tinybert_tf.pipeline.summary import plot_attention_of

pytestmark = pytest.mark.usefixtures("eagerly")
LABELS = {"negative": 0, "positive": 1}


def test_a_text_that_is_longer_than_the_networks_read_is_cut(make_directory, tmp_path):
    short = make_directory("short", "classification", max_position_embeddings=8, label2id=LABELS)
    path = tmp_path / "attention.png"
    assert plot_attention_of(short, short, "the film was good " * 9, None, "uniform", 8, path) == [path]
    assert path.stat().st_size > 1000


def test_a_bilstm_has_no_attention_to_show(make_directory, glue, tmp_path):
    teacher = make_directory("teacher", "classification", label2id=LABELS)
    save_model(build_bilstm(14, LABELS, units=4), tmp_path / "student", tokenizer_from=teacher)
    path = tmp_path / "attention.png"
    assert plot_attention_of(teacher, tmp_path / "student", "the film", None, "uniform", 8, path) == []
    assert diagnose(teacher, tmp_path / "student", load_task("sst2", str(glue)), "uniform", 8) is None
    assert not path.exists()
    found = diagnose(teacher, teacher, load_task("sst2", str(glue)), "uniform", 8)
    np.testing.assert_allclose(np.diag(found.cka), 1.0, atol=1e-5)
    np.testing.assert_array_equal(*found.trained)
    assert len(found.trained[0]) == len(list(load_task("sst2", str(glue)).train))


def test_networks_with_other_tokens_or_more_layers_are_not_shown_side_by_side(make_directory, glue, tmp_path):
    head = {"head": "classification", "label2id": LABELS}
    teacher, other = make_directory("teacher", **head), make_directory("other", **head)
    deeper = make_directory("deeper", num_hidden_layers=7, **head)
    words = (other / "vocab.txt").read_text().split("\n")
    (other / "vocab.txt").write_text("\n".join([*words[:-3], words[-2], words[-3], *words[-1:]]))
    for student in (deeper, other):
        assert diagnose(teacher, student, load_task("sst2", str(glue)), "uniform", 8) is None
        assert plot_attention_of(teacher, student, "the film", None, "uniform", 8, tmp_path / "a.png") == []
