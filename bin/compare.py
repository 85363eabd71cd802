"""Trains methods beside each other at equal steps or minutes, over tasks and seeds: CSV, Markdown and a plot."""

import common
from tinybert_tf.pipeline.compare import CompareSettings, compare
from tinybert_tf.report.methods import COLUMNS
from tinybert_tf.report.tables import markdown_table


def main(settings: CompareSettings) -> dict:
    result = compare(settings)
    print(markdown_table(result["rows"], COLUMNS))
    print(f"wrote {settings.output_dir}: results.md, results.csv, results.png, runs/, tflite/")
    return result


if __name__ == "__main__":
    common.run(CompareSettings, main)
