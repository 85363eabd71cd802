"""What a student takes over from its teacher."""

import pytest

from tinybert_tf.bert.config import FAMILIES
from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.train.student import make_student

SIZE = "2x8x2x16"


@pytest.fixture
def mpnet(make_directory):
    directory = make_directory("teacher", model_type="mpnet", **FAMILIES["mpnet"])
    return load_model(directory), directory


def test_a_student_is_of_its_teacher_s_family_unless_told_otherwise(mpnet):
    kept, _ = make_student(*mpnet, SIZE, "random", "uniform", list)
    assert (kept.config.model_type, kept.config.num_hidden_layers) == ("mpnet", 2)
    plain, _ = make_student(*mpnet, SIZE, "random", "uniform", list, family="bert")
    assert (plain.config.model_type, plain.relative_attention_bias) == ("bert", None)
    assert plain.config.type_vocab_size == 2
    with pytest.raises(InputError, match="student_family=gpt: must be auto or bert"):
        make_student(*mpnet, SIZE, "random", "uniform", list, family="gpt")
