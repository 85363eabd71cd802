import numpy as np
import pytest

from tinybert_tf.augmentation import MaskedLM
from tinybert_tf.augmentation.masked_lm import Query, masked_scores, top_k
from tinybert_tf.augmentation.words import PUNCTUATION, WORD, kind, split_sentences
from tinybert_tf.bert import BertConfig, build_model, logits_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError


def queries(texts, tokenizer):
    """A query for every word of some texts."""
    return [
        Query(sentence.pieces, word.first, word.last, kind(word.surface))
        for sentence in split_sentences(texts, tokenizer)
        for word in sentence.words
    ]


def by_hand(model, tokenizer, query, count, same_word=False):
    """The candidates by the whole model, one word masked, everything picked outside."""
    ids = [
        tokenizer.cls_id,
        *query.pieces[: query.first],
        tokenizer.mask_id,
        *query.pieces[query.last :],
        tokenizer.sep_id,
    ]
    ids = np.array([ids], np.int32)
    features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
    scores = logits_model(model)(features, training=False).numpy()[0, 1 + query.first]
    own = set() if same_word or query.last - query.first > 1 else {tokenizer.vocabulary[query.pieces[query.first]]}
    ranked = [tokenizer.vocabulary[index] for index in np.argsort(-scores)]
    allowed = [w for w in ranked if not w.startswith(("##", "[")) and kind(w) == query.kind and w not in own]
    return set(allowed[:count])


TEXTS = (
    "the film was good , not bad !",
    "sadly a dull movie 1999 unkind",
    "paris and london",
    "king",
    '" the old river " was long and cold and dark',
)


@pytest.mark.parametrize("same_word", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_candidates_are_the_whole_models_best_words(model, tokenizer, batch_size, same_word):
    asked = queries(TEXTS, tokenizer)
    found = MaskedLM(model, tokenizer, candidates=6, batch_size=batch_size, same_word=same_word)(asked)
    assert [set(words) for words in found] == [by_hand(model, tokenizer, query, 6, same_word) for query in asked]


def test_candidates_are_no_special_tokens_no_pieces_and_not_the_word_itself(model, tokenizer):
    """The published code may draw [MASK], [unused7] or the word itself."""
    asked = queries(TEXTS, tokenizer)
    everything = MaskedLM(model, tokenizer, candidates=1000)(asked)
    for query, words in zip(asked, everything, strict=True):
        assert words and {kind(word) for word in words} == {query.kind}
        assert not [word for word in words if word.startswith(("##", "["))]
        own = tokenizer.vocabulary[query.pieces[query.first]]
        assert query.last - query.first > 1 or own not in words
    marks = next(words for query, words in zip(asked, everything, strict=True) if query.kind == PUNCTUATION)
    assert "." in marks


def test_a_cased_word_is_not_its_own_candidate_in_another_case(tmp_path, model):
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Film", "film", "FILM", "book", "king")
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    from tinybert_tf.data import Tokenizer

    tokenizer = Tokenizer(tmp_path / "vocab.txt", lower_case=False)
    cased = build_model(model.config.replace(vocab_size=len(words)), "masked_lm")
    assert MaskedLM(cased, tokenizer)(queries(["Film"], tokenizer)) == [["book", "king"]]


@pytest.mark.parametrize(
    ("family", "layers", "dtype", "error"),
    [
        ("bert", 1, "float32", 1e-5),
        ("bert", 3, "float64", 1e-5),
        ("bert", 3, "mixed_bfloat16", 0.3),
        ("mpnet", 2, "float64", 1e-5),
    ],
)
def test_only_the_masked_row_gives_the_scores_of_the_whole_model(model, family, layers, dtype, error):
    config = model.config.replace(num_hidden_layers=layers).of_family(family)
    whole, tested = build_model(config, "masked_lm"), build_model(config, "masked_lm", dtype=dtype)
    tested.set_weights(whole.get_weights())
    ids = np.random.randint(5, config.vocab_size, (4, 9)).astype(np.int32)
    lengths, positions = np.array([9, 4, 6, 1], np.int32), np.array([8, 2, 0, 0], np.int32)
    mask = (np.arange(9) < lengths[:, None]).astype(np.int32)
    features = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}
    expected = logits_model(whole)(features, training=False).numpy()[np.arange(4), positions]
    scores = masked_scores(tested)(ids, lengths, positions)
    np.testing.assert_allclose(np.float32(scores), expected, atol=error)


def test_many_words_share_a_forward_pass_and_none_is_asked_twice(model, tokenizer):
    """The published code makes a forward pass of batch 1 for each word."""
    masked_lm = MaskedLM(model, tokenizer, candidates=5, batch_size=8)
    batches, top = [], masked_lm._top
    masked_lm._top = lambda ids, *rest: batches.append(ids.shape) or top(ids, *rest)
    asked = queries(TEXTS, tokenizer)
    first = masked_lm(asked + asked)
    assert len(batches) == -(-len(asked) // 8) and sum(rows for rows, _ in batches) == len(asked)
    assert [length for _, length in batches] == sorted(length for _, length in batches)
    assert masked_lm(asked) == first[: len(asked)] and sum(rows for rows, _ in batches) == len(asked)


def test_near_ties_are_decided_in_float64_whatever_the_batch(model, tokenizer):
    """Words in pairs of the same embedding: at an odd place every set ends inside a pair."""
    tied = build_model(model.config, "masked_lm")
    weights = [np.array(value) for value in model.get_weights()]
    for value in weights:
        if value.shape[0] == model.config.vocab_size:
            noise = np.random.normal(scale=1e-8, size=value[6:-1:2].shape)
            value[7::2] = value[6:-1:2] + noise
    tied.set_weights(weights)
    asked = queries(TEXTS * 5, tokenizer)
    results = []
    for batch_size in (1, 7, 64):
        masked_lm = MaskedLM(tied, tokenizer, candidates=5, batch_size=batch_size)
        top = masked_lm._top

        # What another batch shape does to float32, made larger.
        def shaken(*arguments, top=top):
            scores, ids = (value.numpy() for value in top(*arguments))
            scores = scores + np.random.normal(scale=1e-7, size=scores.shape).astype(np.float32)
            order = np.argsort(-scores, axis=1)
            import tensorflow as tf

            return tuple(tf.constant(np.take_along_axis(value, order, axis=1)) for value in (scores, ids))

        masked_lm._top = shaken
        results.append(masked_lm(asked))
    assert results[0] == results[1] == results[2]
    assert "_exact_top" in vars(masked_lm)


def test_a_long_sentence_is_seen_around_the_word(model, tokenizer):
    text = " ".join(f"{word} the" for word in ("film book king river queen stone sad dark old new " * 1000).split())
    asked = queries([text], tokenizer)
    assert len(asked) == 20_000
    masked_lm = MaskedLM(model, tokenizer, candidates=4, seq_len=9)
    for number, left in ((0, 0), (1, 1), (9_000, 3), (19_998, 5), (19_999, 6)):
        ids, position, *_ = masked_lm._window(asked[number])
        assert len(ids) == 9 and position == 1 + left and ids[position] == tokenizer.mask_id
        around = asked[number].pieces[number - left : number - left + 7]
        np.testing.assert_array_equal(np.delete(ids[1:-1], left), np.delete(around, left))
    assert all(len(words) == 4 for words in masked_lm(asked[::1999]))


def test_a_word_of_several_pieces_is_one_mask(model, tokenizer):
    (query,) = queries(["sadly"], tokenizer)
    ids, position, own, _ = MaskedLM(model, tokenizer)._window(query)
    assert ids.tolist() == [tokenizer.cls_id, tokenizer.mask_id, tokenizer.sep_id]
    assert (position, own) == (1, -1)


def test_what_cannot_work_is_refused(model, tokenizer, masked_lm_dir):
    with pytest.raises(InputError, match="has the head 'encoder'"):
        MaskedLM(load_model(masked_lm_dir, head="encoder"), tokenizer)
    with pytest.raises(InputError, match="seq_len=25: must be 3 to 24"):
        MaskedLM(model, tokenizer, seq_len=25)
    small = build_model(BertConfig(**(model.config.to_dict() | {"vocab_size": 9})), "masked_lm")
    with pytest.raises(InputError, match="words, but the masked LM has 9"):
        MaskedLM(small, tokenizer)
    assert {kind(word) for word in MaskedLM(model, tokenizer)(queries(["king"], tokenizer))[0]} == {WORD}


@pytest.mark.parametrize("size, values", [(30522, 10**6), (30522, 3), (30522, 1), (4096, 40), (100, 5)])
def test_the_best_of_blocks_are_the_best_of_all(size, values):
    """Equal scores too: with 3 values among 30,522 entries nearly all are."""
    import tensorflow as tf

    scores = np.random.default_rng(size + values).integers(values, size=(5, size)).astype(np.float32)
    scores[2, 7:] = -np.inf  # fewer than are asked for
    found, expected = (function(tf.constant(scores), 16) for function in (top_k, tf.math.top_k))
    np.testing.assert_array_equal(found[0], expected[0])
    finite = np.isfinite(expected[0])
    np.testing.assert_array_equal(found[1].numpy()[finite], expected[1].numpy()[finite])
