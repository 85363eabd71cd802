"""What XNNPACK takes is counted, and what it leaves is named."""

import pytest

from tinybert_tf.export import delegation


@pytest.mark.parametrize("quantize", ["none", "dynamic", "int8", "int4"])
def test_only_the_look_up_and_the_casts_are_left(quantize, exported):
    report = exported(quantize=quantize)
    found = delegation(report.path)
    assert found.nodes == sum(report.operators.values())
    assert found.delegated == found.nodes - len(found.left)
    assert 0 < len(found.left) <= 8
    kinds = {name.split()[0] for name in found.left}
    assert kinds <= {"GATHER", "RESHAPE", "CAST", "DEQUANTIZE"}
    assert "GATHER embeddings/gather" in found.left
    assert not [name for name in found.left if "layer_" in name]
