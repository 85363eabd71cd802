"""Scores and predictions in Python."""

import dataclasses

import numpy as np
import pytest

import tinybert_tf as tb
from tinybert_tf.data import Example, Split, Task, TaskData
from tinybert_tf.data.squad import SquadExample
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.logits import predicted_tags
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.settings import compose

pytestmark = pytest.mark.usefixtures("eagerly")

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
    tags = tb.predict(make_model("t", "token_classification", {"O": 0, "B-PER": 1}), ["", "film", "  "])
    assert list(map(len, tags)) == [0, 1, 0]


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


def test_what_would_be_read_as_its_names_or_not_at_all_is_refused(make_model):
    pandas = pytest.importorskip("pandas")
    model, table = make_model("m", "classification", {"positive": 0, "negative": 1}), pandas.DataFrame({"a": TEXTS})
    given = ((table, "a DataFrame"), ({"a": TEXTS}, "a dict"), (None, "missing"), (b"anna", "a bytes"), (3, "a int"))
    for texts, found in given:
        with pytest.raises(tb.InputError, match=f"texts is {found}; give a list of texts, or one column of a table"):
            tb.predict(model, texts)
    with pytest.raises(tb.InputError, match="text_pairs is a DataFrame; give a list of texts"):
        tb.predict(model, TEXTS, table)
    np.testing.assert_array_equal(tb.predict(model, table["a"]), tb.predict(model, TEXTS))
    task = tb.task_from_lists(TEXTS, ["positive", "negative"] * 2)
    with pytest.raises(tb.InputError, match="texts is a task; give one of its splits, such as `task.dev`"):
        tb.predict(model, task)
    network = tb.load_model(model)
    for refused in (
        lambda: tb.predict(network, TEXTS, tokenizer=str(model)),
        lambda: tb.predict(model, TEXTS, tokenizer=model),
        lambda: tb.evaluate(network, task, split="train", tokenizer=str(model)),
    ):
        with pytest.raises(tb.InputError, match=r'tokenizer is a \w+; give `tb\.Tokenizer\.from_directory\(".*/m"\)`'):
            refused()


def test_lengths_of_numpy_are_read_and_other_things_are_none(make_model):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    task = tb.task_from_lists(TEXTS, ["positive", "negative"] * 2)
    found = tb.predict(model, TEXTS, seq_len=np.int64(4), batch_size=np.int32(3))
    np.testing.assert_allclose(found, tb.predict(model, TEXTS, seq_len=4), atol=1e-6)
    assert tb.evaluate(model, task, split="train", seq_len=np.int64(4))["accuracy"] == np.mean(
        found.argmax(axis=1) == [0, 1, 0, 1]
    )
    for name, value in (("seq_len", "32"), ("seq_len", 4.0), ("batch_size", "32")):
        with pytest.raises(tb.InputError, match=f"{name}={value!r}: must be an integer of at least"):
            tb.predict(model, TEXTS, **{name: value})
        with pytest.raises(tb.InputError, match=f"{name}={value!r}: must be an integer of at least"):
            tb.evaluate(model, task, split="train", **{name: value})


def test_a_model_with_fewer_positions_than_the_task_is_evaluated_at_its_own(make_model, caplog):
    """As `batches` and `predict` do."""
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    long = tb.task_from_lists([text * 60 for text in TEXTS], ["positive", "negative"] * 2)
    task = TaskData(dataclasses.replace(long.task, seq_len=256), long.split)
    scores = tb.evaluate(model, task, split="train")
    assert "has 128 positions, so longer texts are cut; the length of the task is 256" in caplog.text
    assert scores == tb.evaluate(model, task, split="train", seq_len=128)
    with pytest.raises(tb.InputError, match="seq_len=129: the model has 128 positions"):
        tb.evaluate(model, task, split="train", seq_len=129)


def test_words_that_do_not_fit_are_missed_also_without_a_tag_for_outside(make_model):
    tags = {"ADJ": 0, "NOUN": 1}
    model = make_model("t", "token_classification", tags)
    rows = [Example(0, "the film was good", None, "ADJ ADJ ADJ ADJ")]
    task = Task("tags", "token_classification", "", tuple(tags), 0, None, -1)
    trained = TaskModel.of(tb.load_model(model), tb.Tokenizer.from_directory(model), TaskData(task, lambda _: None), 4)
    split = Split("dev", "rows", lambda: iter(rows))
    (logits,), _ = trained.predict(split)
    assert predicted_tags(task, logits)[2:] == ["O", "O"] and trained.score(split)["accuracy"] <= 0.5
    assert tb.predict(model, split, seq_len=4)[0][2:] == ["O", "O"]


def test_a_word_of_a_split_may_hold_another_space(make_model):
    model = make_model("t", "token_classification", {"O": 0, "B-PER": 1})
    split = Split("dev", "rows", lambda: iter([Example(0, "the in\u00a0spite film", None, "O O O")]))
    assert len(tb.predict(model, split)[0]) == 3 and len(tb.predict(model, "the in\u00a0spite film")[0]) == 4


def test_half_of_a_character_and_no_row_are_refused(make_model):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    with pytest.raises(tb.InputError, match=r"text_pairs\[1\] is a NoneType, not a text"):
        tb.predict(model, ["a", "b"], ["c", None])
    with pytest.raises(tb.InputError, match="2 texts, but 0 text pairs"):
        tb.predict(model, ["a", "b"], [])
    with pytest.raises(tb.InputError, match=r"text_pairs\[0\] holds half of a character"):
        tb.predict(model, ["a"], ["b\udc00"])
    with pytest.raises(tb.InputError, match="rows: the split 'dev' has no rows"):
        tb.predict(model, Split("dev", "rows", lambda: iter(())))
    with pytest.raises(tb.InputError, match="`text` holds half of a character"):
        predict(compose(PredictSettings, model_dir=str(model), text="b\udc00"))


def test_questions_are_no_texts_to_classify(make_model):
    model = make_model("m", "classification", {"positive": 0, "negative": 1})
    question = SquadExample("1", "Who?", "Anna was here.", None)
    with pytest.raises(tb.InputError, match="questions.json: has questions and their contexts, not texts"):
        tb.predict(model, Split("dev", "questions.json", lambda: iter([question])))
