import itertools

import numpy as np
import pytest

from tinybert_tf.corpus.packing import assemble, contiguous_spans, document_spans

CLS, SEP, PAD = 101, 102, 0
joined = lambda lists: [*itertools.chain(*lists)]


def make_documents(random, count):
    """Documents as lists of sentences as lists of tokens, empty ones among both; every token is another number."""
    token = iter(range(200, 1_000_000))
    lengths = [random.choice([0, 1, 3, 8, 30, 70], size=random.integers(0, 12)) for _ in range(count)]
    return [[[next(token) for _ in range(length)] for length in document] for document in lengths]


def flatten(documents):
    sentences = [sentence for document in documents for sentence in document]
    tokens = np.array([token for sentence in sentences for token in sentence], np.int64)
    sentence_ends = np.cumsum([0, *map(len, sentences)])
    document_ends = np.cumsum([0] + [sum(map(len, document)) for document in documents])
    return tokens, sentence_ends[1:], document_ends[1:]


def packed_one_by_one(documents, seq_len, short_seq_prob, random):
    """BERT's packing in plain Python: sentences gathered one after the other, tokens cut off one by one."""
    room = seq_len - 3
    documents = [[s[i : i + room] for s in document for i in range(0, len(s), room)] for document in documents]
    is_short, length, parting = random.random((3, sum(map(len, documents))))
    pairs, number = [], 0
    for document in documents:
        chunk = []
        for place, sentence in enumerate(document):
            if not chunk:
                first = number
                target = 2 + int(length[first] * (room - 1)) if is_short[first] < short_seq_prob else room
            chunk.append(sentence)
            number += 1
            if sum(map(len, chunk)) >= target or place == len(document) - 1:
                part = len(chunk) if len(chunk) == 1 else 1 + int(parting[first] * (len(chunk) - 1))
                pairs.append([joined(chunk[:part]), joined(chunk[part:])])
                chunk = []
    cuts = np.zeros((2, len(pairs)), int)
    for index, (a, b) in enumerate(pairs):
        while len(a) + len(b) - cuts[:, index].sum() > room:
            cuts[0 if len(a) - cuts[0, index] > len(b) - cuts[1, index] else 1, index] += 1
    fronts = [random.binomial(cuts[0], 0.5), random.binomial(cuts[1], 0.5)]
    trimmed = lambda side, index: pairs[index][side][fronts[side][index] :][
        : len(pairs[index][side]) - cuts[side, index]
    ]
    return [(trimmed(0, index), trimmed(1, index)) for index in range(len(pairs))]


def rows(pairs, seq_len):
    made = [[CLS, *a, SEP] + ([*b, SEP] if b else []) for a, b in pairs]
    return np.array([row + [PAD] * (seq_len - len(row)) for row in made], np.int64).reshape(-1, seq_len)


@pytest.mark.parametrize("short_seq_prob", [0.0, 0.3])
@pytest.mark.parametrize("seq_len", [8, 32, 128])
def test_documents_are_packed_as_one_by_one(seq_len, short_seq_prob):
    for seed in range(10):
        documents = make_documents(np.random.default_rng(seed), 20)
        tokens, sentence_ends, document_ends = flatten(documents)
        draws = lambda seed=seed: np.random.default_rng([seed, 1])
        spans = document_spans(sentence_ends, document_ends, seq_len, short_seq_prob, draws())
        ids = assemble(tokens, spans, seq_len, cls_id=CLS, sep_id=SEP, pad_id=PAD)
        expected = rows(packed_one_by_one(documents, seq_len, short_seq_prob, draws()), seq_len)
        np.testing.assert_array_equal(ids, expected)
        assert len(ids) >= 10


@pytest.mark.parametrize("seq_len", [8, 32])
def test_windows_hold_every_token_of_a_document_once(seq_len):
    documents = make_documents(np.random.default_rng(0), 20)
    tokens, _, document_ends = flatten(documents)
    spans = contiguous_spans(document_ends, seq_len)
    ids = assemble(tokens, spans, seq_len, cls_id=CLS, sep_id=SEP, pad_id=PAD)
    whole, width = [joined(document) for document in documents], seq_len - 2
    windows = [(text[i : i + width], []) for text in whole for i in range(0, len(text), width)]
    np.testing.assert_array_equal(ids, rows(windows, seq_len))


@pytest.mark.parametrize("documents", [[], [[]], [[[]], [[], []]]])
def test_no_text_gives_no_example(documents):
    _, sentence_ends, document_ends = flatten(documents)
    assert len(contiguous_spans(document_ends, 16).first) == 0
    assert len(document_spans(sentence_ends, document_ends, 16, 0.1, np.random.default_rng(0)).first) == 0


def test_the_share_of_short_examples_is_short_seq_prob():
    ends = np.arange(1, 200_001)  # one document of sentences of one token
    for share in (0.0, 0.1, 1.0):
        spans = document_spans(ends, ends[-1:], 128, share, np.random.default_rng(0))
        lengths = (spans.first_length + spans.second_length)[:-1]
        assert lengths.min() >= (2 if share else 125) and lengths.max() == 125
        # A length is drawn from 2 to 125; one in 124 of these is not shorter.
        assert (lengths < 125).mean() == pytest.approx(share * 123 / 124, abs=0.02)
        if share == 1:
            assert lengths.mean() == pytest.approx((2 + 125) / 2, rel=0.03)


def test_a_pair_is_parted_after_any_of_its_sentences_alike():
    ends = np.arange(5, 500_001, 5)  # 25 sentences of 5 tokens fill an example exactly
    spans = document_spans(ends, ends[-1:], 128, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(spans.first_length + spans.second_length, 125)
    counts = np.bincount(spans.first_length // 5, minlength=25)
    assert counts[0] == 0 and counts[1:].min() > 0.7 * 4000 / 24 and counts[1:].max() < 1.3 * 4000 / 24
