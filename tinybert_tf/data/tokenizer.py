"""WordPiece inside the tf.data graph."""

from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json_object

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """BERT's tokenizer over a vocab.txt; every method takes and gives tensors and works inside `Dataset.map`.

    Args:
        vocab_file: one word a line, in the order of their ids.
        lower_case: lower-case and strip accents, as for bert-base-uncased.

    Raises:
        InputError: the file is missing, empty, not UTF-8, has a word twice, or lacks a special token.
    """

    def __init__(self, vocab_file: str | Path, lower_case: bool = True):
        self.vocab_file = Path(vocab_file)
        self.lower_case = lower_case
        self.vocabulary = _read_vocabulary(self.vocab_file)
        self.vocab_size = len(self.vocabulary)
        ids = {word: index for index, word in enumerate(self.vocabulary)}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (ids[token] for token in SPECIAL_TOKENS)
        try:
            self._wordpiece = tf_text.FastBertTokenizer(
                vocab=self.vocabulary,
                token_out_type=tf.int32,
                lower_case_nfd_strip_accents=lower_case,
            )
        except (RuntimeError, ValueError, tf.errors.OpError) as error:  # such as one of special tokens alone
            raise InputError(f"{self.vocab_file}: TensorFlow Text cannot use this vocabulary ({error})") from None

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Tokenizer":
        """The tokenizer of a model directory: vocab.txt, and `do_lower_case` of tokenizer_config.json where there is one."""
        settings = Path(directory) / "tokenizer_config.json"
        lower_case = read_json_object(settings).get("do_lower_case", True) if settings.is_file() else True
        return cls(Path(directory) / "vocab.txt", bool(lower_case))

    def tokenize(self, texts) -> tf.RaggedTensor:
        """Strings [B] -> ragged int32 word pieces [B, (pieces)], no special tokens."""
        return self._wordpiece.tokenize(texts)

    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """As `tokenize`, and where each piece begins and ends in the UTF-8 bytes of its text: (pieces, begins, ends)."""
        return self._wordpiece.tokenize_with_offsets(texts)

    def encode(self, texts, text_pairs=None, seq_len: int = 128) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Strings [B], and optionally their second halves [B] -> ragged int32 (word ids, type ids) [B, (<= seq_len)].

        [CLS] first [SEP], or [CLS] first [SEP] second [SEP]; a pair that is too long loses tokens of its longer side first.
        """
        first = self.tokenize(texts)
        if text_pairs is None:
            segments = [first[:, : seq_len - 2]]
        else:
            trimmer = tf_text.RoundRobinTrimmer(max_seq_length=seq_len - 3)
            segments = trimmer.trim([first, self.tokenize(text_pairs)])
        return tf_text.combine_segments(segments, start_of_sequence_id=self.cls_id, end_of_segment_id=self.sep_id)

    def __call__(self, texts, text_pairs=None, seq_len: int = 128) -> dict[str, tf.Tensor]:
        """Model inputs, all int32 [B, seq_len]."""
        word_ids, type_ids = self.encode(texts, text_pairs, seq_len)
        shape = (None, seq_len)
        return {
            "input_word_ids": word_ids.to_tensor(self.pad_id, shape=shape),
            "input_mask": tf.ones_like(word_ids).to_tensor(0, shape=shape),
            "input_type_ids": type_ids.to_tensor(0, shape=shape),
        }


def _read_vocabulary(path: Path) -> list[str]:
    try:
        words = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary; put the model's vocab.txt there") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    words = [word.removesuffix("\r") for word in words]
    if words and not words[-1]:
        words.pop()
    missing = [token for token in SPECIAL_TOKENS if token not in words]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; a BERT vocabulary has {', '.join(SPECIAL_TOKENS)}")
    if len(set(words)) != len(words):
        seen: set[str] = set()
        line, word = next((n, w) for n, w in enumerate(words, 1) if w in seen or seen.add(w))
        raise InputError(f"{path}, line {line}: the word {word!r} stands there a second time")
    return words
