"""The record of what weights were trained for."""

import json

import numpy as np
import pytest

from tinybert_tf.checkpoints.rounding import FILE_NAME, InputScaling, Rounding, read_rounding, write_rounding
from tinybert_tf.errors import InputError


def test_a_rounding_is_read_as_it_was_written(tmp_path):
    assert read_rounding(tmp_path) is None
    write_rounding(Rounding("int8"), tmp_path)
    assert read_rounding(tmp_path) == Rounding("int8", None)
    values = np.random.default_rng(0).uniform(0.1, 9, (2, 3, 4)).astype(np.float32)
    write_rounding(Rounding("int4", tuple(InputScaling(*layer) for layer in values)), tmp_path)
    rounding = read_rounding(tmp_path)
    assert rounding.mode == "int4"
    np.testing.assert_array_equal(np.array(rounding.scaling), values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"quantize_aware": "int3"}, "quantize_aware='int3'; must be one of int8, int4_embeddings, int4"),
        ({"quantize_aware": "int8", "scaling": {}}, "scaling must be a list of layers"),
        (
            {"quantize_aware": "int8", "scaling": [{"attention": [1.0]}]},
            "scaling of layer 0: must have attention, context, in",
        ),
        (
            {"quantize_aware": "int8", "scaling": [{"attention": [1.0], "context": [0.0], "intermediate": [1.0]}]},
            "layer 0: context: must be a list of numbers above 0",
        ),
        (
            {"quantize_aware": "int8", "scaling": [{"attention": [10**400], "context": [1.0], "intermediate": [1.0]}]},
            "layer 0: attention: must be a list of numbers above 0 that 32 bits hold",
        ),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path, content, said):
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(InputError, match=said) as error:
        read_rounding(tmp_path)
    assert str(tmp_path / FILE_NAME) in str(error.value)
