"""Converts a model directory to a .tflite file with its vocabulary, labels and metadata inside."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.export import QUANTIZE_MODES, export_tflite
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class ConvertSettings:
    model_dir: str = setting("", "the model directory that is converted", required=True)
    output: str = setting("", "the .tflite file that is written", required=True)
    seq_len: int = setting(128, "the fixed length of the inputs")
    quantize: str = setting(
        "dynamic", f"weights: {', '.join(f'{name} ({what})' for name, what in QUANTIZE_MODES.items())}"
    )
    output_dir: str | None = setting(None, "the folder of a relative --output")
    seed: int = setting(0, "without effect: nothing in a conversion is random")


def main(settings: ConvertSettings) -> dict:
    output = Path(settings.output_dir or ".") / settings.output
    report = export_tflite(settings.model_dir, output, seq_len=settings.seq_len, quantize=settings.quantize)
    print(f"wrote {report.path}: {report.mb:.1f} MB, {sum(report.operators.values())} operations, all builtin")
    return dataclasses.asdict(report)


if __name__ == "__main__":
    common.run(ConvertSettings, main)
