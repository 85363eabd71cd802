"""Predicts GLUE's test sets into submission files, the rows of your own file, or raw text."""

import json

import common
from tinybert_tf.evaluate.predict import PredictSettings, predict


def main(settings: PredictSettings) -> dict:
    result = predict(settings)
    for answer in result.pop("answers", [result] if settings.text is not None and not settings.output_dir else []):
        print(json.dumps(answer, ensure_ascii=False))
    return result


if __name__ == "__main__":
    common.run(PredictSettings, main)
