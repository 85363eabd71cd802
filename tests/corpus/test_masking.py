import numpy as np
import pytest

from tinybert_tf.corpus.masking import Masking, draw
from tinybert_tf.errors import InputError

SEQ_LEN = 32


@pytest.fixture
def ids(corpus):
    (batch,) = corpus.batches(batch_size=corpus.examples).take(1)
    return batch["input_word_ids"].numpy()


def randoms(ids, seed=0):
    rows = np.arange(len(ids))
    return draw(seed, np.zeros_like(rows), rows, ids.shape[1])


def hidden_one_by_one(row, random, tokenizer, whole_word):
    """The positions that BERT's published loop hides: words in a random order, those that would be too many left out."""
    tokens = [tokenizer.vocabulary[index] for index in row if index != tokenizer.pad_id]
    words = []
    for position, token in enumerate(tokens):
        if token in ("[CLS]", "[SEP]"):
            continue
        continues = whole_word and token.startswith("##") and tokens[position - 1] not in ("[CLS]", "[SEP]")
        if continues:
            words[-1].append(position)
        else:
            words.append([position])
    limit, hidden = max(1, round(len(tokens) * 0.15)), []
    for word in sorted(words, key=lambda word: random[word[0]]):
        if len(hidden) + len(word) <= limit:
            hidden += word
    return sorted(hidden)


@pytest.mark.parametrize("masking", ["token", "whole_word"])
def test_the_hidden_tokens_are_those_of_a_plain_loop(ids, tokenizer, masking):
    random = randoms(ids)
    _, positions, labels, weights = Masking(tokenizer, SEQ_LEN, masking)(ids, random)
    assert positions.shape == labels.shape == weights.shape == (len(ids), 5)  # 15% of 32
    assert (positions.dtype, labels.dtype, weights.dtype) == (np.int32, np.int32, np.float32)
    for row, its_random, its_positions, its_labels, its_weights in zip(
        ids, random[:, 0], positions, labels, weights, strict=True
    ):
        expected = hidden_one_by_one(row, its_random, tokenizer, masking == "whole_word")
        count = len(expected)
        assert its_positions.tolist() == expected + [0] * (5 - count)
        assert its_labels.tolist() == row[expected].tolist() + [0] * (5 - count)
        assert its_weights.tolist() == [1.0] * count + [0.0] * (5 - count)
        assert not set(row[expected]) & {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}


def test_80_10_10(tokenizer):
    ids = np.full((4000, SEQ_LEN), 7)
    ids[:, 0], ids[:, -1] = tokenizer.cls_id, tokenizer.sep_id
    masked, positions, labels, weights = Masking(tokenizer, SEQ_LEN, "token")(ids, randoms(ids))
    assert (weights == 1).all() and (labels == 7).all()
    found = np.take_along_axis(masked, positions, axis=1).ravel()
    shares = np.bincount(found, minlength=tokenizer.vocab_size) / found.size
    random_word = 0.1 / tokenizer.vocab_size
    assert shares[tokenizer.mask_id] == pytest.approx(0.8 + random_word, abs=0.01)
    assert shares[7] == pytest.approx(0.1 + random_word, abs=0.01)
    others = np.delete(shares, [tokenizer.mask_id, 7])
    assert others.min() > 0.4 * random_word and others.max() < 2 * random_word
    np.put_along_axis(masked, positions, 7, axis=1)
    np.testing.assert_array_equal(masked, ids)  # nothing else was touched
    # Every place of the text is as likely as any other.
    places = np.bincount(positions.ravel(), minlength=SEQ_LEN)[1:-1] / len(ids)
    np.testing.assert_allclose(places, 5 / 30, atol=0.03)


def test_rows_without_text_have_nothing_hidden(tokenizer):
    ids = np.zeros((2, SEQ_LEN), np.int64)
    ids[0, :2] = tokenizer.cls_id, tokenizer.sep_id
    masked, _, _, weights = Masking(tokenizer, SEQ_LEN, "whole_word")(ids, randoms(ids))
    np.testing.assert_array_equal(masked, ids)
    assert weights.sum() == 0


def test_a_row_s_draws_follow_from_seed_pass_and_row_alone():
    rows, passes = np.array([5, 0, 9]), np.array([1, 0, 2])
    together = draw(3, passes, rows, 16)
    for index in range(3):
        np.testing.assert_array_equal(draw(3, passes[[index]], rows[[index]], 16)[0], together[index])
    others = [draw(4, passes, rows, 16), draw(3, passes + 1, rows, 16), draw(3, passes, rows + 1, 16)]
    assert all((other != together).mean() > 0.99 for other in others)


def test_an_unknown_masking_is_refused(tokenizer):
    with pytest.raises(InputError, match="masking=span: must be one of token, whole_word"):
        Masking(tokenizer, SEQ_LEN, "span")
