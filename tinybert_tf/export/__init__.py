"""From a trained network to a file on a phone: conversion, metadata, parity and latency.

Files are written operator by operator (`writer`) and not by TensorFlow's converter. The converter needs several times the
model's size in memory, and its output depends on its version. It offers no choice of which layers compute in fixed integer
ranges: its full-int8 BERT leaves softmax, GELU, LayerNorm and batch products outside of XNNPACK and runs six times as
long as a file written here. Operators that phones lack, or versions that old runtimes lack, cannot get in by accident.
"""

from tinybert_tf.export.auto import Limits, Trial, export_best
from tinybert_tf.export.classifier import TFLiteClassifier
from tinybert_tf.export.convert import ExportReport, export_tflite
from tinybert_tf.export.examples import example_texts, file_texts, task_texts
from tinybert_tf.export.latency import LatencyReport, benchmark
from tinybert_tf.export.parity import Comparison, ParityReport, compare_on_task, score_file, task_comparison
from tinybert_tf.export.runtime import TFLiteModel
from tinybert_tf.export.writer.delegation import Delegation, delegation
from tinybert_tf.export.writer.metadata import Metadata, read_metadata
from tinybert_tf.export.writer.quantization import QUANTIZE_MODES

__all__ = [
    "QUANTIZE_MODES",
    "Comparison",
    "Delegation",
    "ExportReport",
    "LatencyReport",
    "Limits",
    "Metadata",
    "ParityReport",
    "TFLiteClassifier",
    "TFLiteModel",
    "Trial",
    "benchmark",
    "compare_on_task",
    "delegation",
    "example_texts",
    "export_best",
    "export_tflite",
    "file_texts",
    "read_metadata",
    "score_file",
    "task_comparison",
    "task_texts",
]
