"""Scores a model directory on a task's dev set."""

from pathlib import Path

import common
from tinybert_tf.evaluate.dev import EvaluateSettings, evaluate_model
from tinybert_tf.files import write_json


def main(settings: EvaluateSettings) -> dict:
    result = evaluate_model(settings)
    print("  ".join(f"{name} {value:.4f}" for name, value in result["metrics"].items()))
    if settings.output_dir:
        path = Path(settings.output_dir) / "scores.json"
        write_json(path, result)
        print(f"wrote {path}")
    return result


if __name__ == "__main__":
    common.run(EvaluateSettings, main)
