"""Scores without a network: of the best constant answer, and of counting words."""

import collections
from collections import Counter
from collections.abc import Callable

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from tinybert_tf.data import Example, Split, Task, label_ids, label_values
from tinybert_tf.evaluate.metrics import METRICS, compute_metrics, entity_scores


def constant_score(task: Task, split: Split) -> tuple[float, int]:
    """The highest main metric of a constant answer, and the number of examples.

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


def word_scores(task: Task, train: list[Example], dev: list[Example]) -> tuple[float, float]:
    """The main metric on `dev` of a linear model of word counts, and of the most frequent answer.

    Args:
        task: of any kind but spans.
        train: rows that the model is fitted to: logistic regression, or ridge regression, of the TF-IDF of words and
            pairs of words; the most frequent tag of each word where words are tagged.
        dev: rows that are scored.
    """
    if task.kind == "token_classification":
        return _tag_baseline(task, train, dev)
    ids = label_ids(task, None)
    labels, true = (label_values(rows, task, ids) for rows in (train, dev))
    metric: Callable = METRICS[task.main_metric]
    if task.kind == "regression":
        majority = np.full(len(true), labels.mean())
        model = Ridge(alpha=1.0)
    else:
        majority = np.full(len(true), np.bincount(labels).argmax())
        model = LogisticRegression(C=10.0, max_iter=300)
    columns = [[row.text for row in train + dev]]
    if task.text_pair is not None:
        columns.append([row.text_pair for row in train + dev])
    columns = [texts for texts in columns if any(map(str.strip, texts[: len(train)]))]
    if len(set(labels.tolist())) < 2 or not columns:
        return (float(metric(majority, true)),) * 2
    features = []
    options = {
        "ngram_range": (1, 2),
        "sublinear_tf": True,
        "token_pattern": r"(?u)\w+|[^\w\s]",
        "max_features": 200_000,
    }
    for texts in columns:
        vectorizer = TfidfVectorizer(**options)
        vectorizer.fit(texts[: len(train)])
        features.append(vectorizer.transform(texts))
    features = scipy.sparse.hstack(features).tocsr()
    model.fit(features[: len(train)], labels)
    return float(metric(model.predict(features[len(train) :]), true)), float(metric(majority, true))


def _tag_baseline(task: Task, train: list[Example], dev: list[Example]) -> tuple[float, float]:
    counts: dict[str, Counter] = collections.defaultdict(Counter)
    total: Counter = Counter()
    for row in train:
        for word, tag in zip(row.text.split(" "), row.label.split(" "), strict=True):
            counts[word][tag] += 1
            total[tag] += 1
    (most, _), *_ = total.most_common(1)
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    true = [row.label.split(" ") for row in dev]
    words = [row.text.split(" ") for row in dev]
    scores = [
        entity_scores([[tag_of(word) for word in sentence] for sentence in words], true)[task.main_metric]
        for tag_of in (lambda word: best.get(word, most), lambda word: most)
    ]
    return scores[0], scores[1]
