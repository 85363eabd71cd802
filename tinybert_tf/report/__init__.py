"""Reports on runs: tables, curves and pictures. Reads files and arrays; imports neither Keras nor models."""

from tinybert_tf.report.attention_maps import plot_attention
from tinybert_tf.report.benchmark_card import adb_commands, write_benchmark_card
from tinybert_tf.report.curves import plot_curves, read_metrics
from tinybert_tf.report.page import ReportFiles, write_report
from tinybert_tf.report.report import ReportSettings, report_runs
from tinybert_tf.report.tables import Column, csv_table, markdown_table

__all__ = [
    "Column",
    "ReportFiles",
    "ReportSettings",
    "adb_commands",
    "csv_table",
    "markdown_table",
    "plot_attention",
    "plot_curves",
    "read_metrics",
    "report_runs",
    "write_benchmark_card",
    "write_report",
]
