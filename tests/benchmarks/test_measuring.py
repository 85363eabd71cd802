"""Tables and CSV rows of the benchmarks, and what is compared of them. Nothing here is timed."""

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load():
    """Imports a file of benchmarks/ by its name."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))


def test_functions_are_called_in_turn_and_the_first_calls_do_not_count(load):
    calls, clock = [], iter(range(100))
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = load("measuring").in_turn(functions, rounds=2, warm_up=1, processor_time=lambda: next(clock))
    assert "".join(calls) == "ababab"
    assert {name: cpu for name, (_, cpu) in seconds.items()} == {"a": 1, "b": 1}


def test_ratios_say_how_many_times_as_fast_as_the_reference(load):
    seconds = {"loop": (2.0, 4.0), "ours": (0.5, 0.5)}
    loop, ours = load("measuring").compared("a case", seconds, {"loop": 8, "ours": 16}, "rows", "loop", {"ours": 0.25})
    assert (loop.rate, loop.ratio, loop.peak_share) == (4.0, 1.0, None)
    assert (ours.rate, ours.ratio, ours.cpu_ratio, ours.peak_share) == (32.0, 8.0, 16.0, 0.5)
    (alone,) = load("measuring").compared("a case", {"ours": (1.0, 1.0)}, 1, "rows", "loop")
    assert alone.ratio is None


def test_the_machines_peak_is_no_row_of_a_table(load):
    measuring = load("measuring")
    seconds = {"products, float32": (0.5, 1.0), "ours": (1.0, 1.0)}
    assert measuring.gflops(seconds, size=1000) == {"float32": 4.0}
    assert measuring.without_peaks(seconds) == {"ours": (1.0, 1.0)}


def test_rows_are_appended_with_what_they_were_measured_on(load, tmp_path):
    measuring, path = load("measuring"), tmp_path / "results" / "x.csv"
    row = measuring.Measured("case", "ours", 3.14159265, "rows", 0.5, ratio=2.0)
    for _ in range(2):
        measuring.append(path, [row])
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == 2 and rows[0]["rate"] == "3.1416" and rows[0]["cpu_ratio"] == ""
    assert all(rows[0][name] for name in ("date", "versions", "machine"))


def test_only_what_became_slower_by_more_than_a_tenth_is_named(load):
    compare = load("compare")
    text = "case,variant,ratio\nsst2,ours,{}\nsst2,loop,1.0\nmrpc,ours,{}\nmrpc,other,\n"
    before = compare.last_ratios("p", text.format(10, 5) + "sst2,ours,12\n")
    assert before == {("p", "sst2", "ours"): 12.0, ("p", "sst2", "loop"): 1.0, ("p", "mrpc", "ours"): 5.0}
    lines, compared = compare.compare(before, compare.last_ratios("p", text.format(10, 4.6)))
    assert compared == 3 and len(lines) == 1
    assert lines[0] == "slower: p | sst2 | ours: 10.00 times the reference, 12.00 when it was committed (-17%)"


def test_the_pytorch_loop_has_the_papers_losses(load):
    """Its numbers mean something only if it does the same work: padding counts in it, as in the published code."""
    torch = pytest.importorskip("torch")
    import tensorflow as tf

    from tinybert_tf.distill import losses

    loop = load("pytorch_loop").Training("intermediate", (2, 8, 2, 16), (4, 12, 2, 16))
    random = np.random.default_rng(0)
    words, mask = random.integers(0, 100, (3, 5)), np.array([[1] * 5, [1] * 3 + [0] * 2, [1] * 4 + [0]])
    tensors = [torch.as_tensor(array).long() for array in (words, 0 * words, mask)]
    states, attention, _ = loop.student(*tensors)
    teacher_states, teacher_attention, _ = loop.teacher(*tensors)
    found = float(loop._layers_loss(states, attention, teacher_states, teacher_attention))
    array = lambda tensor: tf.constant(tensor.detach().numpy())
    expected = sum(
        losses.attention_loss(array(own), array(teacher_attention[layer]), mask, padding="reference")
        for own, layer in zip(attention, (1, 3), strict=True)
    )
    expected += sum(
        losses.hidden_loss(array(loop.projection(own)), array(teacher_states[layer]), mask, padding="reference")
        for own, layer in zip(states, (0, 2, 4), strict=True)
    )
    assert found == pytest.approx(float(expected), rel=1e-5)
    before = [parameter.detach().clone() for parameter in loop.teacher.parameters()]
    steps = [loop.step(words, 0 * words, mask, np.zeros(3)) for _ in range(30)]
    assert steps[-1] < steps[0]
    assert all(torch.equal(old, new) for old, new in zip(before, loop.teacher.parameters(), strict=True))


def test_clients_are_chosen_as_people_or_as_folders_write_them(load):
    choose = load("clients").choose
    assert {client.name for client in choose(["TF Lite"])} == {"TF Lite"}
    assert choose(["tf-lite"]) == choose(["TF Lite"]) and choose([]) == load("clients").clients()
    assert [client.version for client in choose(["LiteRT.js", "litert-1.0"])] == ["1.0.1", "2.5.3"]
    with pytest.raises(SystemExit, match="--only=Core ML: begins no client's name; there are TF Lite, LiteRT, "):
        choose(["litert", "Core ML"])


def test_a_mode_that_older_results_lack_counts_as_one_that_does_not_run(load):
    rows = [{"client": "TF Lite", "version": "2.8.0", "mode": "none", "outcome": "runs"}]
    line = next(line for line in load("clients").table(rows).splitlines() if line.startswith("| TF Lite"))
    assert line.startswith("| TF Lite (2.8.0) | 2.8.0 | \u2014 |")


@pytest.mark.slow
def test_the_gpu_benchmark_without_time_for_anything_says_so_in_one_line(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--cpu", "--minutes=-1", f"--results={tmp_path}"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr.splitlines()[-1].startswith("benchmarks/gpu.py: nothing was measured")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there may be a GPU")
def test_without_a_gpu_its_benchmark_says_so_in_one_line():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, str(BENCHMARKS / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines() == ["benchmarks/gpu.py: TensorFlow sees no GPU here; --cpu rehearses on the CPU"]
