"""What the benchmarks share: measuring in turn, one form of table, and rows of results/*.csv.

Every figure is measured beside its reference in one run, in turn (A B A B), so that their ratio holds on a machine that does
other work too. Seconds are medians. `ratio` says how many times as fast as the reference something is: in every row more is
better.
"""

import csv
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags

# Without a GPU TensorFlow logs as an error that it found none.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

RESULTS = Path(__file__).resolve().parent / "results"
flags.DEFINE_string("results", str(RESULTS), "folder of the CSV files that rows are appended to")
_VERSIONS = ("tensorflow", "keras", "torch", "numpy")
# The processor features that decide how fast products are.
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16", "i8mm")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One thing that was measured.

    Attributes:
        case: what was done: "sst2, batch 32".
        variant: how it was done: "mixed_bfloat16".
        rate: work a second.
        unit: of the work: "examples".
        seconds: of one round, wall clock; the median.
        cpu_seconds: of one round, processor time over all cores; the median.
        reference: the variant that the ratio refers to.
        ratio: rate over the reference's rate.
        cpu_ratio: the same by processor time, which tells more on a machine that is shared; None where it was not measured.
        peak_share: of what the products of the work would take at the machine's peak, measured in the same run; None without one.
        note: what else was seen.
    """

    case: str
    variant: str
    rate: float
    unit: str
    seconds: float
    cpu_seconds: float | None = None
    reference: str = ""
    ratio: float | None = None
    cpu_ratio: float | None = None
    peak_share: float | None = None
    note: str = ""


def in_turn(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    processor_time: Callable[[], float] = time.process_time,
) -> dict[str, tuple[float, float]]:
    """Median (wall, processor) seconds of each function, called in turn; the first `warm_up` calls do not count."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for number in range(warm_up + rounds):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), processor_time()
            function()
            if number >= warm_up:
                times[name].append((time.perf_counter() - wall, processor_time() - cpu))
    return {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def children_time() -> float:
    """Processor seconds of all processes that this one started and waited for."""
    times = os.times()
    return times.children_user + times.children_system


def compared(
    case: str,
    seconds: Mapping[str, tuple[float, float]],
    work: float | Mapping[str, float],
    unit: str,
    reference: str,
    least_seconds: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[Measured]:
    """Rows of a table from what `in_turn` measured.

    Args:
        work: done in a round, by each variant or by all.
        reference: the variant that the others are compared with; one that was not measured gives no ratio.
        least_seconds: what a round of a variant would take at the machine's peak.
    """
    work = dict.fromkeys(seconds, work) if isinstance(work, int | float) else work
    rates = {name: (work[name] / wall, work[name] / max(cpu, 1e-9)) for name, (wall, cpu) in seconds.items()}
    rows = []
    for name, (wall, cpu) in seconds.items():
        ratios = (None, None)
        if reference in rates:
            ratios = tuple(own / other for own, other in zip(rates[name], rates[reference], strict=True))
        least = (least_seconds or {}).get(name)
        share, note = (least / wall if least else None), (notes or {}).get(name, "")
        rows.append(Measured(case, name, rates[name][0], unit, wall, cpu, reference, *ratios, share, note))
    return rows


def product_peaks(dtypes: Sequence[str] = ("float32", "bfloat16"), size: int = 2048) -> dict[str, Callable[[], object]]:
    """Functions that make one product of two square matrices in each dtype, to be measured in turn with the rest."""
    import tensorflow as tf

    def product(dtype: str) -> Callable[[], object]:
        matrix = tf.cast(tf.random.normal((size, size)), dtype)
        multiply = tf.function(lambda: tf.reduce_sum(tf.cast(tf.matmul(matrix, matrix), tf.float32)))
        return lambda: multiply().numpy()

    return {f"products, {dtype}": product(dtype) for dtype in dtypes}


def gflops(seconds: Mapping[str, tuple[float, float]], size: int = 2048) -> dict[str, float]:
    """GFLOP/s by dtype, of what `product_peaks` gave; takes it out of `seconds`."""
    names = [name for name in seconds if name.startswith("products, ")]
    return {name.removeprefix("products, "): 2 * size**3 / 1e9 / seconds[name][0] for name in names}


def without_peaks(seconds: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: value for name, value in seconds.items() if not name.startswith("products, ")}


def report(program: str, rows: Sequence[Measured], title: str = "") -> None:
    """Prints the rows as a table and appends them to results/PROGRAM.csv."""
    if title:
        print(title)
    heads = ("", "per second", "ms", "CPU ms", "ratio", "CPU ratio", "of peak")
    for case in dict.fromkeys(row.case for row in rows):
        own = [row for row in rows if row.case == case]
        print(f"{case}  (ratio: times as fast as {own[0].reference})" if own[0].ratio else case)
        print(f"  {heads[0]:34}" + "".join(f"{head:>13}" for head in heads[1:]))
        for row in own:
            figures = (
                f"{row.rate:.4g}",
                f"{1e3 * row.seconds:.4g}",
                _shown(row.cpu_seconds and 1e3 * row.cpu_seconds, ".4g"),
                _shown(row.ratio, ".2f"),
                _shown(row.cpu_ratio, ".2f"),
                _shown(row.peak_share, ".0%"),
            )
            print(f"  {row.variant:34}" + "".join(f"{figure:>13}" for figure in figures) + f"  {row.note}".rstrip())
        print(f"  (per second: {own[0].unit})", flush=True)
    append(Path(flags.FLAGS.results) / f"{program}.csv", rows)


def append(path: Path, rows: Sequence[Measured]) -> None:
    """Appends rows to a CSV file, each with what it was measured on."""
    about = machine()
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*about, *(field.name for field in dataclasses.fields(Measured))])
        if is_new:
            writer.writeheader()
        for row in rows:
            values = {name: _rounded(value) for name, value in dataclasses.asdict(row).items()}
            writer.writerow(about | values)


def machine() -> dict[str, str]:
    """What figures were measured on: date, commit, versions, processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    features = found.get("flags", found.get("Features", "")).split()
    versions = [f"python {platform.python_version()}"]
    for package in _VERSIONS:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "versions": ", ".join(versions),
        "machine": f"{found.get('model name', platform.machine())}, {os.cpu_count()} cores",
        "features": " ".join(name for name in _FEATURES if name in features),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "",
    }


def commit() -> str:
    """The commit that is checked out, with a + where files differ from it; nothing outside of a repository."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=REPOSITORY, capture_output=True, text=True
        )
    except FileNotFoundError:
        return ""
    return told.stdout.strip()


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _rounded(value):
    return float(f"{value:.5g}") if isinstance(value, float) else "" if value is None else value
