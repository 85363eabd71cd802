"""Describes a task's data before training: faults, lengths, labels, and the score of a simple baseline."""

import common
from tinybert_tf.evaluate.describe import DescribeSettings, describe_task


def main(settings: DescribeSettings) -> dict:
    result = describe_task(settings)
    lengths = result["lengths"]
    print(f"{result['rows']} training rows, {result['dev_rows']} dev rows, {result['classes']} classes")
    print(
        f"lengths in {'tokens' if settings.vocab else 'words'}: median {lengths['median']:.0f}, 95% up to {lengths['p95']:.0f}, "
        f"longest {lengths['longest']}; {lengths['truncated']:.1%} are truncated"
    )
    for label, count in result["label_counts"].items():
        print(f"{count:8}  {label}")
    if result["baseline_score"] is not None:
        print(f"baseline {result['baseline_score']:.4f}, the most frequent answer {result['majority_score']:.4f}")
    for complaint in result["complaints"]:
        print(f"complaint: {complaint}")
    return result


if __name__ == "__main__":
    common.run(DescribeSettings, main)
