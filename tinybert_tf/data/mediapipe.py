"""The text tokenizer of MediaPipe's tasks and of the Task Library, for models that are trained with it.

It lower-cases ASCII and nothing else: accents, soft hyphens, zero-width and full-width characters stay in the words. Words are
divided at ASCII spaces, punctuation and Chinese characters. After mediapipe/tasks/cc/text/tokenizers/bert_tokenizer.h in
https://github.com/google-ai-edge/mediapipe, whose two steps are operations of TensorFlow Text.
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

_WORDS_BY_THEMSELVES = "|".join(
    (
        r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}",
        r"[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]|[\x{2A700}-\x{2CEAF}]",
        r"[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]",
    )
)

# Functions of TensorFlow and TensorFlow Text end a text at U+0000, or drop it; another control character they do not.
NUL, OTHER_CONTROL = r"\x00", "\x02"


class MediaPipeWordPiece:
    """WordPiece as MediaPipe computes it, with the methods of TensorFlow Text's `FastBertTokenizer`.

    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "caf\\u00e9", "cafe"]
    >>> MediaPipeWordPiece(words).tokenize(["Caf\\u00e9 cafe"]).to_list()
    [[5, 6]]

    Args:
        words: the vocabulary in the order of its ids.
    """

    def __init__(self, words: Sequence[str]):
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            vocab=list(words), token_out_type=tf.int32, no_pretokenization=True
        )

    def tokenize(self, texts) -> tf.RaggedTensor:
        """Strings [B] -> ragged int32 word pieces [B, (pieces)]."""
        return self.tokenize_with_offsets(texts)[0]

    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """As `tokenize`, and where each piece begins and ends in the UTF-8 bytes of its text."""
        texts = tf.strings.regex_replace(texts, NUL, OTHER_CONTROL)
        lower = tf.strings.lower(texts)  # without an encoding: of ASCII alone
        words, word_begins, _ = tf_text.regex_split_with_offsets(
            lower, rf"\s+|{_WORDS_BY_THEMSELVES}", _WORDS_BY_THEMSELVES
        )
        pieces, begins, ends = self._wordpiece.tokenize_with_offsets(words)  # [B, (words), (pieces)]
        begins, ends = (tf.cast(offsets, tf.int64) + word_begins[..., None] for offsets in (begins, ends))
        return tuple(part.merge_dims(1, 2) for part in (pieces, begins, ends))
