"""What the best constant answer scores on a split: chance."""

from collections import Counter

import numpy as np

from tinybert_tf.data import Split, Task, label_ids, label_values
from tinybert_tf.evaluate.metrics import compute_metrics


def constant_score(task: Task, split: Split) -> tuple[float, int]:
    """The highest main metric that one answer to every example reaches, and the number of examples.

    Args:
        task: its kind and main metric.
        split: with labels.

    Returns:
        (score, examples). Correlations, spans and entities score 0.
    """
    if task.kind != "classification":
        return 0.0, sum(1 for _ in split)
    labels = np.asarray(label_values(list(split), task, label_ids(task, None)))
    answers = [np.full_like(labels, label) for label, _ in Counter(labels.tolist()).most_common()]
    score = max(compute_metrics([task.main_metric], answer, labels)[task.main_metric] for answer in answers)
    return score, len(labels)
