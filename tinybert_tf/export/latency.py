"""How large, how fast and how hungry are these files, side by side?"""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinybert_tf.bert.model import INPUT_NAMES
from tinybert_tf.errors import InputError
from tinybert_tf.export.metadata import read_metadata
from tinybert_tf.export.runtime import TFLiteModel

# One after another in short rounds, so that whatever else the machine does falls on all models alike.
_RUNS_PER_ROUND = 10
# XNNPACK's worker threads spin for a moment after a run, on the cores that the next model needs.
_PAUSE_SECONDS = 0.01

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
    """One model at one number of threads.

    Attributes:
        mb: size of the file, in millions of bytes.
        seq: length of its input.
        median_ms, p90_ms: of one inference on a text of full length.
        memory_mb: how much a process grows at its peak by loading and running it; None where Linux' /proc is missing.
    """

    path: str
    mb: float
    threads: int
    seq: int
    median_ms: float
    p90_ms: float
    memory_mb: float | None


def benchmark(
    paths: Sequence[str | Path], threads: Sequence[int] = (1,), runs: int = 100, warmup: int = 10
) -> list[LatencyReport]:
    """Times models against each other: they take turns, so that their ratios are fair on a busy machine too.

    Args:
        paths: .tflite files.
        threads: numbers of threads to try.
        runs: timed inferences of each model at each number of threads.
        warmup: untimed ones before.

    Raises:
        InputError: a file that is no exported model, or a number that is not positive.
    """
    if not paths:
        raise InputError("--models: name at least one .tflite file")
    if runs < 1 or warmup < 0 or not threads or min(threads) < 1:
        raise InputError(f"runs={runs}, warmup={warmup}, threads={list(threads)}: must be positive numbers")
    reports = []
    for count in threads:
        models = [TFLiteModel(path, num_threads=count) for path in paths]
        for model in models:
            text = _full_length_text(model)
            for _ in range(warmup):
                model.run(text)
        times = _take_turns(models, runs)
        for model, seconds in zip(models, times, strict=True):
            reports.append(
                LatencyReport(
                    path=str(model.path),
                    mb=round(model.path.stat().st_size / 1e6, 3),
                    threads=count,
                    seq=model.seq_len,
                    median_ms=round(float(np.median(seconds)) * 1e3, 4),
                    p90_ms=round(float(np.percentile(seconds, 90)) * 1e3, 4),
                    memory_mb=_peak_memory_mb(model.path, count),
                )
            )
    return reports


def _take_turns(models: Sequence[TFLiteModel], runs: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in models]
    texts = [_full_length_text(model) for model in models]
    while len(times[0]) < runs:
        for model, text, seconds in zip(models, texts, times, strict=True):
            if len(models) > 1:
                time.sleep(_PAUSE_SECONDS)
                model.run(text)  # untimed: caches hold the previous model
            for _ in range(min(_RUNS_PER_ROUND, runs - len(seconds))):
                start = time.perf_counter()
                model.run(text)
                seconds.append(time.perf_counter() - start)
    return times


def _full_length_text(model: TFLiteModel) -> dict[str, np.ndarray]:
    """One row without padding whose words lie all over the embedding table."""
    try:
        words = len(read_metadata(model.path).vocabulary or ())
    except InputError:
        words = 0  # a file by another exporter: word 0 is in every vocabulary
    shape = (1, model.seq_len)
    ids = np.random.default_rng(0).integers(0, max(words, 1), shape)
    arrays = (ids, np.ones(shape), np.zeros(shape))
    return {name: array.astype(np.int32) for name, array in zip(INPUT_NAMES, arrays, strict=True)}


def _peak_memory_mb(path: Path, threads: int) -> float | None:
    """Measured in a process of its own that holds LiteRT and nothing else."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-c", _MEMORY_PROBE, str(path), str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return round(int(result.stdout) * 1024 / 1e6, 1) if result.returncode == 0 else None
