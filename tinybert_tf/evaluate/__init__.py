"""Metrics, predictions and submission files."""

from tinybert_tf.evaluate.logits import make_predict, predict_logits, score
from tinybert_tf.evaluate.metrics import METRICS, compute_metrics

__all__ = ["METRICS", "compute_metrics", "make_predict", "predict_logits", "score"]
