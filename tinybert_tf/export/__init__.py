"""From a trained network to a file on a phone: conversion, metadata, parity and latency."""

from tinybert_tf.export.classifier import TFLiteClassifier
from tinybert_tf.export.convert import ExportReport, export_tflite
from tinybert_tf.export.latency import LatencyReport, benchmark
from tinybert_tf.export.metadata import Metadata, read_metadata
from tinybert_tf.export.parity import ParityReport, compare, compare_on_task
from tinybert_tf.export.quantization import QUANTIZE_MODES
from tinybert_tf.export.runtime import TFLiteModel

__all__ = [
    "QUANTIZE_MODES",
    "ExportReport",
    "LatencyReport",
    "Metadata",
    "ParityReport",
    "TFLiteClassifier",
    "TFLiteModel",
    "benchmark",
    "compare",
    "compare_on_task",
    "export_tflite",
    "read_metadata",
]
