"""Scores a .tflite file and the model that it was made from on a task's dev set; refuses a drop that is too large."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bin"))

import common
from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer, batches, count_batches, label_ids, load_task
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import METRICS
from tinybert_tf.export import TFLiteModel, compare
from tinybert_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    model: str = setting("", "the .tflite file", required=True)
    model_dir: str = setting("", "the model directory that it was made from", required=True)
    task: str = setting("", "the task whose dev set is used", required=True)
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    max_drop: float = setting(0.01, "largest loss of score, 0 to 1, that is accepted")
    output_dir: str | None = setting(None, "without effect: nothing is written")
    seed: int = setting(0, "without effect: nothing in an evaluation is random")


def main(settings: EvaluateSettings) -> dict:
    data = load_task(settings.task, settings.data_dir)
    model = load_model(settings.model_dir, strict_head=True)
    file = TFLiteModel(settings.model)
    tokenizer = Tokenizer.from_directory(settings.model_dir)
    ids = label_ids(data.task, model.config.label2id, settings.model_dir)
    common_arguments = {"batch_size": 32, "seq_len": file.seq_len, "ids": ids}
    count_batches(data.dev, tokenizer, data.task, **common_arguments)
    dev = batches(data.dev, tokenizer, data.task, **common_arguments)
    report = compare(model, file, dev.as_numpy_iterator(), METRICS[data.task.main_metric])
    result = dataclasses.asdict(report) | {"task": data.task.name, "score": report.tflite_score}
    print(f"{data.task.main_metric}: Keras {report.keras_score:.4f}, TFLite {report.tflite_score:.4f}")
    if report.drop > settings.max_drop:
        raise InputError(
            f"{settings.model}: scores {report.tflite_score:.4f}, {report.drop:.4f} below the {report.keras_score:.4f} of "
            f"{settings.model_dir}; --max_drop={settings.max_drop} allows less: convert it with a finer --quantize"
        )
    return result


if __name__ == "__main__":
    common.run(EvaluateSettings, main)
