"""BERT's masking (Devlin et al. 2019), drawn each time an example is read."""

import numpy as np

from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError

MASKINGS = ("token", "whole_word")
# Fraction of an example's tokens to predict; of these, the fractions replaced by [MASK] and by a random token.
MASKED, BECOMES_MASK, BECOMES_RANDOM = 0.15, 0.8, 0.1


class Masking:
    """Selects 15% of an example's tokens, never special ones: 80% become [MASK], 10% a random token, and 10% stay the same.

    Args:
        tokenizer: the corpus'.
        seq_len: tokens in an example.
        masking: "token", or "whole_word": all tokens of a word or none.
    """

    def __init__(self, tokenizer: Tokenizer, seq_len: int, masking: str):
        if masking not in MASKINGS:
            raise InputError(f"must be one of {', '.join(MASKINGS)}", "masking", masking)
        self._tokenizer = tokenizer
        continues = masking == "whole_word"
        self._continues = np.array([continues and word.startswith("##") for word in tokenizer.vocabulary])
        self.max_masked = _limit(seq_len)

    def __call__(self, ids: np.ndarray, random: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Masks a batch.

        Args:
            ids: integers [B, S].
            random: from 0 to below 1 [B, 3, S], for the choice of words, of their replacement, and of the random tokens.

        Returns:
            ids [B, S], and with P = `max_masked`: positions int32 [B, P] in rising order, labels int32 [B, P] and weights
            float32 [B, P], which are 0 where a row has fewer than P.
        """
        masked = self._choose(ids, random[:, 0])
        become = np.where(random[:, 1] < BECOMES_MASK, self._tokenizer.mask_id, ids)
        random_words = (random[:, 2] * self._tokenizer.vocab_size).astype(ids.dtype)
        become = np.where(random[:, 1] >= 1 - BECOMES_RANDOM, random_words, become)
        positions = np.argsort(~masked, axis=1, kind="stable")[:, : self.max_masked].astype(np.int32)
        weights = np.take_along_axis(masked, positions, axis=1)
        positions *= weights
        labels = np.take_along_axis(ids, positions, axis=1).astype(np.int32) * weights
        return np.where(masked, become, ids), positions, labels, weights.astype(np.float32)

    def _choose(self, ids: np.ndarray, random: np.ndarray) -> np.ndarray:
        """The selected tokens, bool [B, S]: whole words in random order, skipping words that exceed the limit."""
        is_example = (ids[:, :1] == self._tokenizer.cls_id) & (ids != self._tokenizer.pad_id)
        is_text = is_example & (ids != self._tokenizer.cls_id) & (ids != self._tokenizer.sep_id)
        after_text = np.pad(is_text, ((0, 0), (1, 0)))[:, :-1]
        is_start = is_text & ~(self._continues[ids] & after_text)
        word = np.cumsum(is_start, axis=1) - 1
        tokens_left = np.minimum(_limit(is_example.sum(axis=1)), is_text.sum(axis=1))
        rows, words = np.arange(len(ids)), is_start.sum(axis=1)
        lengths = np.zeros((len(ids), ids.shape[1] + 1), np.int64)
        np.add.at(lengths, (np.broadcast_to(rows[:, None], ids.shape)[is_text], word[is_text]), 1)
        order = np.take_along_axis(word, np.argsort(np.where(is_start, random, 2), axis=1, kind="stable"), axis=1)
        chosen = np.zeros_like(lengths, bool)
        for number in range(words.max(initial=0)):
            nth = order[:, number]
            fits = (number < words) & (lengths[rows, nth] <= tokens_left)
            chosen[rows, nth] |= fits
            tokens_left -= np.where(fits, lengths[rows, nth], 0)
        return is_text & np.take_along_axis(chosen, np.maximum(word, 0), axis=1)


def draw(seed: int, passes: np.ndarray, rows: np.ndarray, seq_len: int) -> np.ndarray:
    """Random numbers for `Masking` [B, 3, seq_len], those of a row depending only on the seed, the pass and the row.

    Philox (Salmon et al. 2011) starts at any position, independent of earlier draws.
    """
    generators = (
        np.random.Philox(key=[seed, number], counter=[0, 0, 0, row])
        for number, row in zip(passes.tolist(), rows.tolist(), strict=True)
    )
    return np.stack([np.random.Generator(bits).random((3, seq_len)) for bits in generators])


def _limit(tokens):
    """The number of `tokens` to select: at least one."""
    return np.maximum(1, np.rint(tokens * MASKED)).astype(np.int64)
