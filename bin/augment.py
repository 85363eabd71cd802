"""Augments a task's training set (the paper's Algorithm 1)."""

import common
from tinybert_tf.augmentation import AugmentSettings, augment_task


def main(settings: AugmentSettings) -> dict:
    result = augment_task(settings)
    print(f"wrote {result['train_file']} and {settings.output_dir}/augmentation.json")
    return result


if __name__ == "__main__":
    common.run(AugmentSettings, main)
