import numpy as np
import pytest

from tinybert_tf.data.spans import SpanFeatures
from tinybert_tf.data.squad import Answer, SquadExample
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.vocabulary import SPECIAL_TOKENS

WORDS = [f"w{number}" for number in range(60)]


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "?", "café", "cafe", "日", "本", "##s", "19", "##21", *WORDS]), "utf-8")
    return Tokenizer(path)


def example(words, answer=None, question="w0 w1 ?", name="q"):
    context = words if isinstance(words, str) else " ".join(words)
    answers = () if answer is None else (Answer(answer, context.index(answer)),)
    return SquadExample(name, question, context, answers)


def collect(dataset):
    """The rows [(number, ids, label)] of all batches, without filling, and the batches' shapes."""
    rows, shapes = [], []
    for features, labels, weights, numbers in dataset.as_numpy_iterator():
        shapes.append(features["input_word_ids"].shape)
        np.testing.assert_array_equal(weights, (numbers >= 0).astype(np.float32))
        lengths = features["input_mask"].sum(axis=1)
        np.testing.assert_array_equal(features["input_mask"], np.arange(shapes[-1][1]) < lengths[:, None])
        for row in np.flatnonzero(numbers >= 0):
            ids = features["input_word_ids"][row]
            assert not ids[lengths[row] :].any()
            rows.append((int(numbers[row]), tuple(ids[: lengths[row]].tolist()), tuple(labels[row].tolist())))
    return rows, shapes


def test_a_context_that_fits_is_encoded_as_a_pair(tokenizer):
    question, context = "w0 w1 ?", "w5 w6 w7s"
    features = SpanFeatures([example(context, "w6 w7s", question)], tokenizer, seq_len=16)
    ((found, label, weight),) = features.batches(batch_size=1, buckets=(16,)).as_numpy_iterator()
    for name, expected in tokenizer([question], [context], 16).items():
        np.testing.assert_array_equal(found[name], expected)
    assert label.tolist() == [[6, 8]] and label.dtype == np.int32
    assert weight.tolist() == [1.0]


def test_windows_overlap_and_leave_no_piece_out(tokenizer):
    words = WORDS[2:42]
    features = SpanFeatures([example(words, "w15 w16")], tokenizer, seq_len=22, doc_stride=6)
    windows = next(features.windows_by_example())
    assert [(w.first, w.last) for w in windows] == [(0, 16), (6, 22), (12, 28), (18, 34), (24, 40)]
    assert features.lengths.tolist() == [22] * 5
    # w15 is the context's word 13; the fourth and fifth window do not hold it.
    assert [(w.start, w.end) for w in windows] == [(18, 19), (12, 13), (6, 7), (0, 0), (0, 0)]
    rows, _ = collect(features.batches(batch_size=2, row_numbers=True))
    ids = dict(zip(tokenizer.vocabulary, range(tokenizer.vocab_size), strict=True))
    for (_, found, _), window in zip(sorted(rows), windows, strict=True):
        middle = [ids[word] for word in words[window.first : window.last]]
        question = [tokenizer.cls_id, ids["w0"], ids["w1"], ids["?"], tokenizer.sep_id]
        assert list(found) == [*question, *middle, tokenizer.sep_id]


def test_an_answer_that_a_window_cuts_is_none_there(tokenizer):
    features = SpanFeatures([example(WORDS[2:30], "w16 w17 w18")], tokenizer, seq_len=22, doc_stride=6)
    windows = next(features.windows_by_example())
    assert [(w.first, w.last, w.start) for w in windows] == [(0, 16, 0), (6, 22, 13), (12, 28, 7)]


def test_a_context_that_just_fits_is_one_window(tokenizer):
    assert len(SpanFeatures([example(WORDS[:16])], tokenizer, seq_len=22).lengths) == 1
    assert len(SpanFeatures([example(WORDS[:17])], tokenizer, seq_len=22).lengths) == 2


def test_questions_are_cut_and_short_windows_still_overlap(tokenizer):
    features = SpanFeatures([example(WORDS, question=" ".join(WORDS))], tokenizer, seq_len=23)
    windows = next(features.windows_by_example())
    assert {window.offset for window in windows} == {12}
    assert [w.first for w in windows[:3]] == [0, 5, 10] and windows[-1].last == 60
    features = SpanFeatures([example(WORDS, question=" ".join(WORDS))], tokenizer, max_question_length=7)
    assert features.lengths.tolist() == [7 + 60 + 3]


def test_an_answer_is_widened_to_whole_pieces(tokenizer):
    for answer in ("6", "w6", "6 w"):
        features = SpanFeatures([example("w5 w6 w7s w8", answer)], tokenizer)
        window = next(features.windows_by_example())[0]
        first, last = (position - window.offset for position in (window.start, window.end))
        assert features.text(0, first, last) == ("w6 w7" if " " in answer else "w6")


def test_texts_are_cut_by_characters_and_not_by_bytes(tokenizer):
    context = "日本 CAFÉ  café\u0301s\u200b\u00a0w3 ½ 1921"
    features = SpanFeatures([example(context)], tokenizer)
    pieces = next(features.windows_by_example())[0].last
    shown = [features.text(0, piece, piece) for piece in range(pieces)]
    assert shown[:3] == ["日", "本", "CAFÉ"]
    assert [text.strip("\u200b") for text in shown[3:6]] == ["café\u0301", "s", "w3"]
    assert shown[-2:] == ["19", "21"]
    for answer in ("本 CAFÉ", "w3", "1921", "½"):
        start = context.index(answer)
        first, last = features.answer_pieces(0, start, start + len(answer))
        assert features.text(0, first, last) == answer


def test_a_context_without_a_token_is_refused(tokenizer):
    with pytest.raises(InputError, match="question q: its context has no words"):
        SpanFeatures([example("\u200b")], tokenizer)
    with pytest.raises(InputError, match="seq_len=7: no room for a question and a context"):
        SpanFeatures([example(WORDS)], tokenizer, seq_len=7)


@pytest.fixture
def features(tokenizer):
    """13 windows of five lengths, from 11 questions."""
    rows = [example(WORDS[2 : 4 + 3 * (n % 4)], "w2", name=str(n)) for n in range(10)]
    return SpanFeatures([*rows, example(WORDS[:30], "w9", name="long")], tokenizer, seq_len=24)


def test_no_window_is_lost_and_every_batch_is_full(features):
    rows, shapes = collect(features.batches(batch_size=4, row_numbers=True))
    assert sorted(number for number, *_ in rows) == list(range(len(features.lengths)))
    assert {shape[0] for shape in shapes} == {4}
    assert {length for _, length in shapes} == {8, 12, 16, 20, 24}
    padded, shapes = collect(features.batches(batch_size=64, buckets=(24,), row_numbers=True))
    assert shapes == [(64, 24)]
    assert sorted(padded) == sorted(rows)


def test_the_number_of_batches_is_known_beforehand(features):
    for batch_size, epochs in ((4, 1), (4, 3), (64, 2)):
        dataset = features.batches(batch_size=batch_size, epochs=epochs, shuffle_seed=1)
        counted = features.count_batches(batch_size=batch_size, epochs=epochs)
        assert counted == (len(features.lengths), sum(1 for _ in dataset))


def test_the_order_follows_the_seed_and_changes_with_the_epoch(features):
    count = len(features.lengths)

    def order(seed):
        dataset = features.batches(batch_size=count, buckets=(24,), epochs=2, shuffle_seed=seed, row_numbers=True)
        return [tuple(numbers) for *_, numbers in dataset.as_numpy_iterator()]

    first, second = order(1)
    assert order(1) == [first, second]
    assert first != second
    assert order(2) != [first, second]
    assert sorted(first) == sorted(second) == list(range(count))
    assert order(None) == [tuple(range(count))] * 2
