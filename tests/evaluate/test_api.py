"""Scores and predictions in Python."""

import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.data import Example, Split
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.settings import compose

TEXTS = ["the film was good", "not bad", "the film was not good not bad the film was bad", "anna"]


def test_a_directory_and_its_network_score_what_the_program_says(make_model, tmp_path):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    rows = "".join(f"{text}\t{n % 2}\n" for n, text in enumerate(TEXTS * 3))
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\n" + rows)
    said = evaluate_model(
        compose(EvaluateSettings, task="sst2", model_dir=str(model), data_dir=str(tmp_path), seq_len=16)
    )
    assert tb.evaluate(model, "sst2", tmp_path, seq_len=16) == said["metrics"]
    task, tokenizer = tb.load_task("sst2", tmp_path), tb.Tokenizer.from_directory(model)
    assert tb.evaluate(tb.load_model(model), task, tokenizer=tokenizer, seq_len=16) == said["metrics"]
    with pytest.raises(tb.InputError, match="tokenizer is missing"):
        tb.evaluate(tb.load_model(model), task)


def test_predictions_are_in_the_order_of_the_texts_and_as_many(make_model):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    tokenizer, network = tb.Tokenizer.from_directory(model), tb.load_model(model)
    found = tb.predict(model, TEXTS, batch_size=3)
    alone = [tb.predict(network, text, tokenizer=tokenizer)[0] for text in TEXTS]
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, alone, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    split = Split("dev", "rows", lambda: (Example(n, text, None, "x") for n, text in enumerate(TEXTS)))
    np.testing.assert_allclose(tb.predict(model, split, batch_size=3), found, rtol=1e-5, atol=1e-6)
    with pytest.raises(tb.InputError, match="2 texts, but 1 text pairs"):
        tb.predict(model, ["a", "b"], ["c"])


def test_scores_and_tags_are_predicted(make_model):
    assert tb.predict(make_model("r", "regression"), ["anna", "paris"], ["the", "film"]).shape == (2, 1)
    tags = tb.predict(make_model("t", "token_classification", {"O": 0, "B-PER": 1}), "annas  film")
    assert len(tags) == 1 and len(tags[0]) == 2 and set(tags[0]) <= {"O", "B-PER"}


def test_what_is_no_text_or_no_tokenizer_of_the_model_is_refused(make_model, tmp_path):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    for texts, name in ((["a", None], r"texts\[1\] is a NoneType"), ([("a", "b")], r"texts\[0\] is a tuple")):
        with pytest.raises(tb.InputError, match=f"{name}, not a text"):
            tb.predict(model, texts)
    with pytest.raises(tb.InputError, match="batch_size=0: must be an integer of at least 1"):
        tb.predict(model, ["a"], batch_size=0)
    with pytest.raises(tb.InputError, match="seq_len=0: must be an integer of at least 3"):
        tb.predict(model, ["a"], seq_len=0)
    words = [*tb.Tokenizer.from_directory(model).vocabulary, "another"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer, task = tb.Tokenizer(tmp_path / "vocab.txt"), tb.task_from_lists(["a", "b"], ["positive", "negative"])
    with pytest.raises(tb.InputError, match=rf"tokenizer has {len(words)} words .*table has {len(words) - 1}"):
        tb.predict(tb.load_model(model), ["a"], tokenizer=tokenizer)
    with pytest.raises(tb.InputError, match=rf"tokenizer has {len(words)} words"):
        tb.evaluate(tb.load_model(model), task, split="train", tokenizer=tokenizer)
