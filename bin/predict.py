"""Predicts GLUE's test sets into submission files, the rows of your own file, or raw text."""

import common
from tinybert_tf.evaluate.predict import PredictSettings, predict

if __name__ == "__main__":
    common.run(PredictSettings, predict)
