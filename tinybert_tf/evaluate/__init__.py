"""Scores."""

from tinybert_tf.evaluate.metrics import METRICS, compute_metrics
from tinybert_tf.evaluate.predict import predict_logits, predictor, score

__all__ = ["METRICS", "compute_metrics", "predict_logits", "predictor", "score"]
