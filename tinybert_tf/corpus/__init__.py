"""Plain text as examples for general distillation and masked-LM pre-training: written once, read in batches."""

from tinybert_tf.corpus.make_corpus import make_corpus
from tinybert_tf.corpus.reader import Corpus, read_corpus
from tinybert_tf.corpus.settings import CorpusSettings

__all__ = ["Corpus", "CorpusSettings", "make_corpus", "read_corpus"]
