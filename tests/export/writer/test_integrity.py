"""A damaged file is one clear error, never the end of the process."""

import subprocess

import numpy as np
import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteClassifier, TFLiteModel
from tinybert_tf.export.writer import flatbuffer


def refused(path):
    with pytest.raises(InputError, match=f"{path.name}: .*again") as caught:
        TFLiteModel(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        TFLiteClassifier(path)


def test_one_changed_byte_anywhere_is_found(exported, tmp_path):
    content = bytearray(flatbuffer.read_tflite(exported(quantize="dynamic").path))
    path = tmp_path / "changed.tflite"
    for place in np.random.default_rng(0).integers(8, len(content), 12):
        changed = content.copy()
        changed[place] ^= 0x55
        path.write_bytes(changed)
        refused(path)


def test_a_file_of_another_exporter_is_checked_by_its_references(exported, tmp_path):
    """Without a digest: whatever an interpreter would follow into nowhere is refused before it is loaded."""
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported(quantize="dynamic").path))
    model.metadata = None
    path = tmp_path / "other.tflite"
    path.write_bytes(flatbuffer.pack(model))
    assert TFLiteModel(path, verify=True).seq_len == 12

    def tensor_of_no_buffer(model):
        model.subgraphs[0].tensors[3].buffer = 10_000

    def operation_on_no_tensor(model):
        model.subgraphs[0].operators[5].inputs = np.array([10_000], np.int32)

    def operation_before_its_input(model):
        model.subgraphs[0].operators.reverse()

    def short_buffer(model):
        buffer = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
        buffer.data = buffer.data[:-4]

    def unknown_operation(model):
        model.subgraphs[0].operators[2].opcodeIndex = 99

    for damage in (
        tensor_of_no_buffer,
        operation_on_no_tensor,
        operation_before_its_input,
        short_buffer,
        unknown_operation,
    ):
        model = flatbuffer.unpack(path.read_bytes())
        damage(model)
        damaged = tmp_path / f"{damage.__name__}.tflite"
        damaged.write_bytes(flatbuffer.pack(model))
        refused(damaged)


def test_a_classifier_needs_metadata(exported, tmp_path):
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported().path))
    model.metadata = None
    path = tmp_path / "bare.tflite"
    path.write_bytes(flatbuffer.pack(model))
    with pytest.raises(InputError, match="has no TFLITE_METADATA; tflite/convert.py writes files that have it"):
        TFLiteClassifier(path)


def test_only_a_caller_who_asks_for_it_runs_a_foreign_file_elsewhere(exported, tmp_path, monkeypatch):
    """A constructor that starts a process would surprise; a file of this package is never run by `verify`."""
    started = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: started.append(args) or run(*args, **kwargs))
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported().path))
    model.metadata = None
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(flatbuffer.pack(model))
    TFLiteModel(foreign)
    TFLiteModel(exported().path, verify=True)
    assert not started
    TFLiteModel(foreign, verify=True)
    assert len(started) == 1
