"""The first runtime of a file, in the file, in the documentation and as it was found by running clients."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from tinybert_tf.export import QUANTIZE_MODES
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.builder import ModelBuilder
from tinybert_tf.export.writer.runtimes import FIRST_RUNTIMES, latest

REPOSITORY = Path(__file__).resolve().parents[3]
# The oldest TensorFlow Lite that ran a file of the mode.
FIRST_OF_MODE = {
    "none": "2.8.0",
    "float16": "2.8.0",
    "dynamic": "2.8.0",
    "int8": "2.17.0",
    "int4_embeddings": "2.18.0",
    "int4": "2.18.0",
}


def numbers(version):
    return [int(number) for number in version.split(".")]


def test_versions_are_compared_as_numbers():
    assert latest(["2.9.0", "2.17.0", "2.8.0"]) == "2.17.0"


def test_an_operator_without_a_known_runtime_is_not_written():
    with pytest.raises(KeyError):
        ModelBuilder().operator_code("ADD", 99)
    assert ("ADD", 99) not in FIRST_RUNTIMES


@pytest.mark.parametrize("quantize", FIRST_OF_MODE)
@pytest.mark.parametrize("head", ["classification", "token_classification", "regression", "span"])
def test_a_file_names_its_first_runtime(head, quantize, exported):
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported(head, quantize).path))
    named = {entry.name: bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8)) for entry in model.metadata}
    assert named[b"min_runtime_version"] == FIRST_OF_MODE[quantize].encode().ljust(16, b"\0")


def test_the_documentation_names_it_too():
    assert FIRST_OF_MODE.keys() == QUANTIZE_MODES.keys()
    text = (REPOSITORY / "tflite" / "README.md").read_text(encoding="utf-8")
    for mode, version in FIRST_OF_MODE.items():
        (cell,) = re.findall(rf"^\| {mode} \|.*\| (2\.\d+)[^|]*\|$", text.partition("### Clients")[0], re.MULTILINE)
        assert f"{cell}.0" == version, mode


@pytest.mark.parametrize("mode", FIRST_OF_MODE)
def test_it_is_what_the_clients_showed(mode):
    """Every TensorFlow Lite from that version on ran all files, and every older one refused them or answered rightly."""
    with (REPOSITORY / "benchmarks" / "results" / "clients.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["client"] == "TF Lite" and row["mode"] == mode]
    assert len(rows) >= 5 * len({row["version"] for row in rows}) > 0
    for row in rows:
        is_new = numbers(row["version"]) >= numbers(FIRST_OF_MODE[mode])
        assert row["outcome"] in (("runs",) if is_new else ("runs", "refused")), row
    assert any(numbers(row["version"])[:2] == numbers(FIRST_OF_MODE[mode])[:2] for row in rows), "the first was tried"
