"""Every configuration file sets known settings to values that they take."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from tinybert_tf.train.stages import DistillSettings

FILES = sorted((Path(__file__).resolve().parents[1] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_task_configuration_can_be_used(path):
    values = yaml.safe_load(path.read_text())
    settings = DistillSettings(**(values | {"teacher": "t", "output_dir": "o"}))
    fields = {field.name: field.type for field in dataclasses.fields(settings)}
    for name, value in values.items():
        assert not isinstance(value, str) or "str" in str(fields[name]), f"{path}: {name} must be a number"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_says_how_to_run_it_and_what_is_proven(path):
    header = path.read_text().split("\ntask:")[0]
    assert f"--config_file=configs/task/{path.name}" in header
    assert "unproven" in header or "Score:" in header
