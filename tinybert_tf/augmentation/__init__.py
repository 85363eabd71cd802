"""Data augmentation (Algorithm 1 of the TinyBERT paper)."""

from tinybert_tf.augmentation.algorithm import Augmentation, Augmented, Augmenter
from tinybert_tf.augmentation.augment import augment, augment_task
from tinybert_tf.augmentation.masked_lm import MaskedLM
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.augmentation.word_vectors import WordVectors

__all__ = [
    "AugmentSettings",
    "Augmentation",
    "Augmented",
    "Augmenter",
    "MaskedLM",
    "WordVectors",
    "augment",
    "augment_task",
]
