"""Size, latency and memory of .tflite files side by side; the files take turns, so that ratios hold on a busy machine."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.errors import InputError
from tinybert_tf.export import benchmark
from tinybert_tf.files import write_json
from tinybert_tf.report import markdown_table
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    models: str = setting("", ".tflite files, separated by commas", required=True)
    threads: str = setting("1", "numbers of threads, separated by commas")
    runs: int = setting(100, "timed inferences of each file")
    output_dir: str | None = setting(None, "where benchmark.json is written; absent: nowhere")
    seed: int = setting(0, "without effect: nothing in a benchmark is random")


def main(settings: BenchmarkSettings) -> dict:
    try:
        threads = [int(count) for count in settings.threads.split(",")]
    except ValueError:
        raise InputError(f"--threads={settings.threads}: must be whole numbers with commas between them") from None
    files = [path.strip() for path in settings.models.split(",") if path.strip()]
    rows = [dataclasses.asdict(report) for report in benchmark(files, threads, runs=settings.runs)]
    print(markdown_table(rows, ["path", "mb", "threads", "seq", "median_ms", "p90_ms", "memory_mb"]))
    if settings.output_dir:
        write_json(Path(settings.output_dir) / "benchmark.json", rows)
        print(f"wrote {settings.output_dir}/benchmark.json")
    return {"models": rows}


if __name__ == "__main__":
    common.run(BenchmarkSettings, main)
