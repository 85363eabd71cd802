"""Scores a model directory on a task's dev set."""

import common
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model


def main(settings: EvaluateSettings) -> dict:
    result = evaluate_model(settings)
    print("  ".join(f"{name} {value:.4f}" for name, value in result["metrics"].items()))
    return result


if __name__ == "__main__":
    common.run(EvaluateSettings, main)
