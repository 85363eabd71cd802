"""Prunes a trained network: fewer word pieces, layers, heads and neurons, a narrower hidden state."""

from tinybert_tf.prune.prune import PruneReport, prune
from tinybert_tf.prune.sizes import Sizes
from tinybert_tf.prune.vocabulary import Coverage, WordCounts, choose_words, count_words, coverage

__all__ = [
    "Coverage",
    "PruneReport",
    "Sizes",
    "WordCounts",
    "choose_words",
    "count_words",
    "coverage",
    "prune",
]
