"""docs/scaling.md says what benchmarks/scaling.py computes, and that agrees with what is known otherwise."""

import importlib.util
from pathlib import Path

import pytest

from tinybert_tf.bert import BertConfig, build_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", REPOSITORY / "benchmarks" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_document_are_the_programs(scaling):
    document = (REPOSITORY / "docs" / "scaling.md").read_text()
    for title, table in scaling.tables().items():
        assert table.strip() in document, f"{title}: put in what `python benchmarks/scaling.py` prints"


def test_a_network_has_as_many_parameters_as_is_said(scaling):
    config = BertConfig.named("tinybert4")
    assert scaling.parameters(config) == build_model(config).count_params() == 14_350_248


def test_one_step_by_hand(scaling):
    student, teacher = BertConfig.named("tinybert4"), BertConfig.named("bert_base")
    flops = scaling.row_flops(student, teacher, "intermediate")
    assert 8 * sum(flops) == pytest.approx(216e9, rel=0.01)  # the step that benchmarks/distillation.py measures
    machine = scaling.Machine("m", 4, teacher_flops=1e12, student_flops=1e12, bytes_per_second=1e9, price=1.0)
    found = scaling.step(machine, 32, flops, 1_000_000, "general")
    assert found["computing"] == pytest.approx(8 * 27.01e9 / 1e12, rel=1e-3)
    assert found["network"] == pytest.approx(4e6 * 1.5 / 1e9)
    assert found["step"] == pytest.approx(found["computing"] + found["network"])
