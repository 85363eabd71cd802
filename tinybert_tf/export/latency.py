"""Size, time and memory of files side by side."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.export.writer.delegation import delegation
from tinybert_tf.export.writer.metadata import read_metadata
from tinybert_tf.export.writer.other_runtimes import OnnxModel, TorchModel

# Short alternating rounds, so that other load on the machine slows all models equally.
_RUNS_PER_ROUND = 10
# Largest number of times a file is loaded: over thirty loads, TinyBERT4's int8 file had medians of 1.72 to 1.87 ms.
_LOADS = 5
# XNNPACK's worker threads spin for a moment after a run, on the cores that the next model needs.
_PAUSE_SECONDS = 0.01

# (seconds on the clock, seconds of the processor) of runs.
Times = list[tuple[float, float]]

_READERS = {".tflite": TFLiteModel, ".onnx": OnnxModel, ".pt": TorchModel}

_MEMORY_PROBE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

def peak_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

before = peak_kb()
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
for entry in interpreter.get_input_details():
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], np.int32))
interpreter.invoke()
print(peak_kb() - before)
"""


@dataclasses.dataclass(frozen=True)
class LatencyReport:
    """One model at one number of threads and one length.

    Attributes:
        mb: size of the file, in millions of bytes.
        seq: length of its input.
        median_ms, p90_ms: of one inference on a text of full length.
        cpu_ms: median time that the processor worked for one, all threads together: without waiting for a core. With
            several threads it includes their spinning while they wait for each other.
        memory_mb: how much a process grows at its peak by loading and running it at its longest length; None for other
            runtimes than TFLite's, and where Linux' /proc is missing.
        delegated: "operations that XNNPACK takes/all operations"; None for other runtimes.
    """

    path: str
    mb: float
    threads: int
    seq: int
    median_ms: float
    p90_ms: float
    cpu_ms: float
    memory_mb: float | None
    delegated: str | None


def benchmark(
    paths: Sequence[str | Path],
    threads: Sequence[int] = (1,),
    lengths: Sequence[int] | None = None,
    runs: int = 100,
    warmup: int = 10,
) -> list[LatencyReport]:
    """Times models side by side: they take turns, so that their ratios hold on a busy machine too.

    Each is loaded several times, because the place of its weights in memory changes its time by a few percent.

    Args:
        paths: .tflite files; also .onnx and .pt (TorchScript) files where ONNX Runtime or PyTorch is installed.
        threads: numbers of threads to try.
        lengths: of those that a file has; absent: all of them, which a file of any length does not say.
        runs: timed inferences of each model at each number of threads and each length.
        warmup: untimed ones after each loading.

    Returns:
        by number of threads, in these by file, in these by length, longest first.

    Raises:
        InputError: a file that is no exported model or has none of the lengths, or a number that is not positive.
    """
    if not paths:
        raise InputError("no model; name at least one .tflite file")
    if runs < 1 or warmup < 0 or not threads or min(threads) < 1:
        raise InputError(f"runs={runs}, warmup={warmup}, threads={list(threads)}: must be positive numbers")
    facts = {}
    reports = []
    for count in threads:
        for path, seq, times in _measure(paths, count, lengths, runs, warmup):
            seconds, cpu_seconds = zip(*times, strict=True)
            if path not in facts:
                facts[path] = _facts(path, threads[0])
            reports.append(
                LatencyReport(
                    path=str(path),
                    mb=round(path.stat().st_size / 1e6, 3),
                    threads=count,
                    seq=seq,
                    median_ms=round(float(np.median(seconds)) * 1e3, 4),
                    p90_ms=round(float(np.percentile(seconds, 90)) * 1e3, 4),
                    cpu_ms=round(float(np.median(cpu_seconds)) * 1e3, 4),
                    **facts[path],
                )
            )
    return reports


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A model with a text of one length."""

    path: Path
    model: TFLiteModel | OnnxModel | TorchModel
    seq: int
    text: dict[str, np.ndarray]

    def run(self) -> None:
        self.model.run(self.text)


def _entries(path: Path, threads: int, lengths: Sequence[int] | None) -> list[_Entry]:
    if path.suffix not in _READERS:
        raise InputError(f"{path}: must end in {', '.join(_READERS)}")
    model = _READERS[path.suffix](path, num_threads=threads)
    # A model without lengths of its own takes any.
    available = sorted(model.seq_lens or lengths or (128,), reverse=True)
    chosen = [length for length in available if lengths is None or length in lengths]
    if not chosen:
        raise InputError(
            f"{path}: has the lengths {', '.join(map(str, available))}, none of {', '.join(map(str, lengths))}; "
            "export it with a `seq_len` among these"
        )
    return [_Entry(path, model, length, _full_length_text(path, length)) for length in chosen]


def _measure(
    paths: Sequence[str | Path], threads: int, lengths: Sequence[int] | None, runs: int, warmup: int
) -> list[tuple[Path, int, Times]]:
    """Each file at each length, and the times of its runs."""
    loads = min(_LOADS, runs)
    measured: list[tuple[Path, int, Times]] = []
    for load in range(loads):
        entries = [entry for path in paths for entry in _entries(Path(path), threads, lengths)]
        measured = measured or [(entry.path, entry.seq, []) for entry in entries]
        for entry in entries:
            for _ in range(warmup):
                entry.run()
        share = runs * (load + 1) // loads - runs * load // loads
        for (_, _, times), taken in zip(measured, _take_turns(entries, share), strict=True):
            times += taken
        del entries, entry  # before the next are loaded
    return measured


def _take_turns(entries: Sequence[_Entry], runs: int) -> list[Times]:
    """Of each run of each entry."""
    times: list[Times] = [[] for _ in entries]
    while len(times[0]) < runs:
        for entry, measured in zip(entries, times, strict=True):
            if len(entries) > 1:
                time.sleep(_PAUSE_SECONDS)
                entry.run()  # untimed: caches hold the previous model
            for _ in range(min(_RUNS_PER_ROUND, runs - len(measured))):
                start, cpu_start = time.perf_counter(), time.process_time()
                entry.run()
                measured.append((time.perf_counter() - start, time.process_time() - cpu_start))
    return times


def _full_length_text(path: Path, seq_len: int) -> dict[str, np.ndarray]:
    """One row without padding whose words are spread over the whole embedding table."""
    try:
        words = len(read_metadata(path).vocabulary or ())
    except InputError:
        words = 0  # a file by another exporter: word 0 is in every vocabulary
    ids = np.random.default_rng(0).integers(0, max(words, 1), (1, seq_len), np.int32)
    return dict(zip(INPUT_NAMES, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def _facts(path: Path, threads: int) -> dict:
    """Properties that do not depend on threads and length."""
    if path.suffix != ".tflite":
        return {"memory_mb": None, "delegated": None}
    nodes = delegation(path)
    return {"memory_mb": _peak_memory_mb(path, threads), "delegated": f"{nodes.delegated}/{nodes.nodes}"}


def _peak_memory_mb(path: Path, threads: int) -> float | None:
    """Measured in a process of its own that holds LiteRT and nothing else."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", _MEMORY_PROBE, str(path), str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return round(int(result.stdout) * 1024 / 1e6, 1) if result.returncode == 0 else None
