"""Scores."""

from tinybert_tf.evaluate.logits import predict_logits, predictor, score
from tinybert_tf.evaluate.metrics import METRICS, compute_metrics

__all__ = ["METRICS", "compute_metrics", "predict_logits", "predictor", "score"]
