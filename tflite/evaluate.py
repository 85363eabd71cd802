"""Scores a .tflite file and the model that it was made from on a task's dev set; refuses a drop that is too large."""

import dataclasses
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.settings import DATA_DIR_HELP, TASK_HELP
from tinybert_tf.errors import InputError
from tinybert_tf.export import compare_on_task
from tinybert_tf.export.auto import exceeds
from tinybert_tf.files import write_json
from tinybert_tf.settings import UNUSED_SEED, nested, setting


@dataclasses.dataclass(frozen=True)
class ParitySettings:
    model: str = setting("", "the .tflite file", required=True)
    model_dir: str = setting("", "the model directory that it was made from", required=True)
    task: str = setting("", TASK_HELP, required=True)
    data_dir: str | None = setting(None, DATA_DIR_HELP)
    custom: CustomFiles = nested(CustomFiles)
    split: str | None = setting(None, "absent: the task's dev set; e.g. dev_mismatched")
    max_drop: float = setting(0.01, "largest loss of score, 0 to 1, that is accepted")
    threads: int = setting(1, "threads of the TFLite runtime")
    output_dir: str | None = setting(None, "where parity.json is written; absent: nowhere")
    seed: int = setting(0, UNUSED_SEED)

    def __post_init__(self):
        if not math.isfinite(self.max_drop):
            raise InputError("must be finite", "max_drop", self.max_drop)


def main(settings: ParitySettings) -> dict:
    report = compare_on_task(
        settings.model_dir,
        settings.model,
        settings.task,
        settings.data_dir,
        files=settings.custom,
        split=settings.split,
        num_threads=settings.threads,
    )
    agreement = "" if report.agreement is None else f", same class {report.agreement:.2%}"
    scores = f"Keras {report.keras_score:.4f}, TFLite {report.tflite_score:.4f}"
    print(
        f"{report.examples} examples: {scores}{agreement}, largest difference of a logit {report.max_logit_error:.4g}"
    )
    result = {"task": settings.task, "score": report.tflite_score, **dataclasses.asdict(report)}
    if settings.output_dir:
        write_json(Path(settings.output_dir) / "parity.json", result)
        print(f"wrote {settings.output_dir}/parity.json")
    if exceeds(report.drop, settings.max_drop):
        raise InputError(
            f"{settings.model}: scores {report.tflite_score:.4f}, {report.drop:.4f} below the {report.keras_score:.4f} of "
            f"{settings.model_dir}; `max_drop={settings.max_drop}` allows less: convert it with a finer `quantize` mode"
        )
    return result


if __name__ == "__main__":
    common.run(ParitySettings, main)
