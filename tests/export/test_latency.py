"""Files are timed side by side, at every length and number of threads, on the runtimes that are there."""

import sys
import types

import numpy as np
import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteModel, benchmark, export_tflite, latency
from tinybert_tf.export.writer.other_runtimes import OnnxModel, TorchModel


def test_models_are_timed_side_by_side(exported):
    paths = [exported(quantize=mode).path for mode in ("none", "dynamic")]
    rows = benchmark(paths, threads=(1, 2), runs=4, warmup=1)
    assert [(row.path, row.threads, row.seq) for row in rows] == [
        (path, threads, 12) for threads in (1, 2) for path in paths
    ]
    assert all(0 < row.median_ms <= row.p90_ms and row.cpu_ms > 0 for row in rows)
    assert rows[0].mb > rows[1].mb
    assert rows[0].memory_mb > 0
    delegated, nodes = map(int, rows[0].delegated.split("/"))
    assert 0 < delegated < nodes == sum(exported().operators.values())


@pytest.mark.parametrize(("runs", "loads"), [(1, 1), (12, 5)])
def test_a_file_is_loaded_several_times_for_its_runs(runs, loads, exported, monkeypatch):
    loaded, ran = [], []

    class Counted(TFLiteModel):
        def __init__(self, path, **settings):
            loaded.append(path)
            super().__init__(path, **settings)

        def run(self, text):
            ran.append(len(loaded))
            return super().run(text)

    monkeypatch.setitem(latency._READERS, ".tflite", Counted)
    benchmark([exported().path], runs=runs, warmup=2)
    assert len(loaded) == loads
    assert len(ran) == runs + 2 * loads
    assert max(ran.count(load + 1) for load in range(loads)) <= runs // loads + 1 + 2


def test_each_length_is_a_row(model_dir, tmp_path):
    path = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=(4, 8, 12)).path
    assert [row.seq for row in benchmark([path], runs=1, warmup=0)] == [12, 8, 4]
    assert [row.seq for row in benchmark([path], lengths=[4, 8, 99], runs=1, warmup=0)] == [8, 4]
    with pytest.raises(InputError, match=r"a.tflite: has the lengths 12, 8, 4, none of 5"):
        benchmark([path], lengths=[5])


@pytest.mark.parametrize(
    ("paths", "changes", "message"),
    [
        ([], {}, "name at least one"),
        (["a.tflite"], {"threads": (0,)}, r"threads=\[0\]: must be positive"),
        (["a.bin"], {}, r"a.bin: must end in .tflite, .onnx, .pt"),
        (["a.tflite"], {}, r"a.tflite: no such file"),
        (["a.onnx"], {}, r"a.onnx: no such file"),
    ],
)
def test_bad_input_is_named(paths, changes, message):
    with pytest.raises(InputError, match=message):
        benchmark(paths, **changes)


def test_a_runtime_that_is_not_installed_is_named(tmp_path, monkeypatch):
    for reader, suffix, package in ((OnnxModel, "onnx", "onnxruntime"), (TorchModel, "pt", "torch")):
        monkeypatch.setitem(sys.modules, package, None)
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"")
        with pytest.raises(InputError, match=f"a.{suffix}: needs the package {package}"):
            reader(path)


def test_hugging_face_names_and_types_are_met(tmp_path, monkeypatch):
    """A stand-in for ONNX Runtime: what the session is handed is what an export by optimum asks for."""
    handed = []

    class Session:
        def __init__(self, path, options, providers):
            assert options.intra_op_num_threads == 2

        def get_inputs(self):
            names = ("input_ids", "attention_mask", "token_type_ids")
            return [types.SimpleNamespace(name=name, shape=["batch", "seq"], type="tensor(int64)") for name in names]

        def get_outputs(self):
            return [types.SimpleNamespace(name="logits")]

        def run(self, names, inputs):
            handed.append(inputs)
            return [np.zeros((1, 2))]

    module = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    path = tmp_path / "a.onnx"
    path.write_bytes(b"x")
    rows = benchmark([path], threads=(2,), lengths=(7,), runs=2, warmup=0)
    assert [(row.seq, row.memory_mb, row.delegated) for row in rows] == [(7, None, None)]
    names = ("input_ids", "attention_mask", "token_type_ids")
    shapes = {name: (value.shape, value.dtype) for name, value in handed[0].items()}
    assert shapes == dict.fromkeys(names, ((1, 7), np.int64))
    assert handed[0]["attention_mask"].all() and not handed[0]["token_type_ids"].any()
