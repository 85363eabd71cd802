"""Size, latency, memory and score of .tflite files side by side; they take turns, so that ratios hold on a busy machine."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteModel, benchmark, read_metadata, score_file
from tinybert_tf.files import write_json
from tinybert_tf.report import adb_commands, markdown_table, write_benchmark_card
from tinybert_tf.report.benchmark_card import COLUMNS
from tinybert_tf.settings import UNUSED_SEED, integers, nested, setting


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    models: str = setting(
        "", "files with commas between; .onnx and .pt too where ONNX Runtime or PyTorch is installed", required=True
    )
    threads: str = setting("1", "thread counts, separated by commas")
    seq_len: str | None = setting(None, "lengths, separated by commas; absent: all that a file has")
    runs: int = setting(100, "timed inferences of each file")
    task: str | None = setting(None, "score the .tflite files on this task's dev set; drops are from the first file")
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    custom: CustomFiles = nested(CustomFiles)
    output_dir: str | None = setting(None, "where benchmark.md, .csv, .png and .json are written; absent: nowhere")
    seed: int = setting(0, UNUSED_SEED)


def main(settings: BenchmarkSettings) -> dict:
    threads = integers("threads", settings.threads)
    lengths = integers("seq_len", settings.seq_len) if settings.seq_len else None
    files = [str(Path(path.strip())) for path in settings.models.split(",") if path.strip()]
    scores = _scores(settings, files)
    rows = [
        {**dataclasses.asdict(report), **scores.get(report.path, {})}
        for report in benchmark(files, threads, lengths, runs=settings.runs)
    ]
    print(markdown_table(rows, COLUMNS))
    commands = _commands(rows, threads)
    print("On a phone, with TensorFlow's benchmark_model pushed to /data/local/tmp:", *commands, sep="\n")
    if settings.output_dir:
        write_benchmark_card(settings.output_dir, rows, commands)
        write_json(Path(settings.output_dir) / "benchmark.json", rows)
        print(f"wrote {settings.output_dir}/benchmark.md, .csv, .png and .json")
    return {"models": rows}


def _scores(settings: BenchmarkSettings, files: list[str]) -> dict[str, dict[str, float]]:
    if not settings.task:
        return {}
    scores = {}
    for path in files:
        if path.endswith(".tflite"):
            scores[path] = score_file(path, settings.task, settings.data_dir, settings.custom)
            print(f"{path}: {settings.task} {scores[path]:.4f}", flush=True)
    first = next(iter(scores.values()), 0.0)
    return {path: {"score": score, "drop": first - score} for path, score in scores.items()}


def _commands(rows: list[dict], threads: list[int]) -> list[str]:
    """For each .tflite file at its longest length, which is its default signature."""
    commands = []
    for path in dict.fromkeys(row["path"] for row in rows):
        try:
            words = len(read_metadata(path).vocabulary or (None,))
            seq_len = TFLiteModel(path).seq_len
        except InputError:
            continue  # a file of another kind or exporter
        commands += adb_commands(path, seq_len, words, threads)
    return commands


if __name__ == "__main__":
    common.run(BenchmarkSettings, main)
