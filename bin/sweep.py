"""Runs a grid of batch sizes, learning rates and seeds, and keeps the best on dev."""

import common
from tinybert_tf.train.sweep import SweepSettings, sweep


def main(settings: SweepSettings) -> dict:
    result = sweep(settings)
    print(
        f"wrote {settings.distill.run.output_dir}: model/ (the best run's), sweep.md, sweep.csv, a directory for each run"
    )
    return result


if __name__ == "__main__":
    common.run(SweepSettings, main)
