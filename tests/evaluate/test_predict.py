"""The user's own data through training, evaluation and prediction."""

import csv
import json

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune

TEXTS = ('he said "{0}"', "the film,\nthe {0}", "the film was {0}", "{0}s")
CUSTOM = {"task": "custom", "text_column": "review", "label_column": "stars", "seq_len": 16}
TRAINING = {"train_batch_size": 16, "learning_rate": 1e-2, "evaluations": 1}


@pytest.fixture
def own_file(tmp_path):
    """A function that writes a CSV with quotes, separators and line breaks in its fields."""

    def write(name, rows, labels):
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["stars", "note", "review"])
            writer.writerows([labels[n % 2], n, TEXTS[n // 2 % 4].format(("bad", "good")[n % 2])] for n in range(rows))
        return str(path)

    return write


def predictions(directory):
    return [json.loads(line) for line in (directory / "predictions.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_a_custom_file_is_learned_scored_and_predicted(own_file, make_model, tmp_path):
    files = {"train_file": own_file("train.csv", 200, "15"), "dev_file": own_file("dev.csv", 10, "15")}
    result = finetune(
        compose(
            FinetuneSettings,
            **CUSTOM,
            **files,
            **TRAINING,
            model=str(make_model("m", "encoder")),
            output_dir=str(tmp_path / "t"),
            epochs=3,
        )
    )
    assert result["task"] == "custom" and result["score"] == 1.0 and set(result["metrics"]) == {"accuracy", "macro_f1"}
    # Its labels are in the model: the training file is not needed any more.
    files = {"dev_file": files["dev_file"], "model_dir": result["model"]}
    assert evaluate_model(compose(EvaluateSettings, **CUSTOM, **files))["metrics"] == result["metrics"]
    unlabelled = own_file("unlabelled.csv", 6, ("", ""))
    predict(
        compose(PredictSettings, **(CUSTOM | files | {"dev_file": unlabelled, "output_dir": str(tmp_path / "out")}))
    )
    found = predictions(tmp_path / "out")
    assert [row["prediction"] for row in found] == ["1", "5"] * 3
    assert found[3]["text"] == "the film,\nthe good" and found[3]["probabilities"]["5"] > 0.5

    answer = predict(compose(PredictSettings, model_dir=result["model"], text="the film was good"))
    assert answer["prediction"] == "5"
    lines = tmp_path / "lines.txt"
    lines.write_text('he said "good"\nthe film was bad\n', encoding="utf-8")
    assert predict(compose(PredictSettings, model_dir=result["model"], input_file=str(lines)))["rows"] == 2


def test_scores_of_pairs_are_learned_and_predicted(make_model, tmp_path):
    rows = [{"one": "the film", "two": ("bad", "good")[n % 2], "stars": 4.0 * (n % 2)} for n in range(32)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = CUSTOM | {"text_column": "one", "text_pair_column": "two", "label_type": "number", "dev_file": str(path)}
    result = finetune(
        compose(FinetuneSettings,
            **columns, **TRAINING, train_file=str(path), model=str(make_model("m", "encoder")), epochs=20,
            output_dir=str(tmp_path / "t"),
        )
    )  # fmt: skip
    assert result["score"] > 0.8 and set(result["metrics"]) == {"spearman", "pearson"}
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("the film\tbad\nthe film\tgood\n")
    predict(
        compose(PredictSettings, model_dir=result["model"], input_file=str(pairs), output_dir=str(tmp_path / "out"))
    )
    low, high = predictions(tmp_path / "out")
    assert high["prediction"] > low["prediction"] + 1 and high["text_pair"] == "good"


@pytest.mark.slow
def test_tags_are_learned_distilled_scored_and_predicted(make_model, tmp_path):
    path = tmp_path / "train.conll"
    path.write_text("the O\nfilm O\nannas B-PER\n\nparis B-LOC\nwas O\ngood O\n\n" * 12)
    task = {"task": "token_classification", "seq_len": 16, "train_file": str(path), "dev_file": str(path)}
    taught = finetune(
        compose(
            FinetuneSettings,
            **task,
            **TRAINING,
            model=str(make_model("m", "encoder")),
            epochs=12,
            output_dir=str(tmp_path / "t"),
        )
    )
    assert taught["score"] == 1.0 and list(taught["metrics"]) == ["f1", "precision", "recall", "accuracy"]
    student = make_model("s", "encoder", seed=3)
    result = distill_task(
        compose(DistillSettings,
            **task, teacher=taught["model"], student=str(student), train_batch_size=8, intermediate_epochs=2,
            prediction_epochs=10, prediction_learning_rate=5e-3, intermediate_learning_rate=5e-3, evaluations=2,
            output_dir=str(tmp_path / "d"), teacher_dtype="float32",
        )
    )  # fmt: skip
    assert result["score"] == 1.0
    scored = compose(
        EvaluateSettings, task="token_classification", model_dir=result["model"], dev_file=str(path), seq_len=16
    )
    assert evaluate_model(scored)["metrics"] == result["metrics"]
    answer = predict(compose(PredictSettings, model_dir=result["model"], text="  the  film annas"))
    assert answer["text"] == "the film annas" and answer["prediction"] == ["O", "O", "B-PER"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "give one of `task`, `text` and `input_file`"),
        ({"text": "a", "input_file": "b"}, "give one of"),
        ({"task": "rte"}, "output_dir is missing"),
        ({"task": "rte", "output_dir": "x", "text_pair": "a"}, "text_pair goes with `text`"),
        ({"text": "a", "batch_size": 0}, "batch_size=0: must be at least 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        compose(PredictSettings, model_dir="m", **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the file is empty"), ("a\tb\nc\n", "line 2: 0 tabs"), ("a\tb\tc\n", "line 1: 2 tabs; a line is one text")],
)
def test_lines_that_are_neither_texts_nor_pairs_are_refused(make_model, tmp_path, text, message):
    (tmp_path / "lines.txt").write_text(text)
    model = make_model("m", "classification", {"no": 0, "yes": 1})
    with pytest.raises(InputError, match=message):
        predict(compose(PredictSettings, model_dir=str(model), input_file=str(tmp_path / "lines.txt")))


def test_a_model_without_an_answer_is_refused(make_model):
    with pytest.raises(InputError, match="has the head 'encoder', which predicts nothing about a text"):
        predict(compose(PredictSettings, model_dir=str(make_model("m", "encoder")), text="a"))


@pytest.mark.slow
def test_raw_text_is_normalized_as_the_settings_say(make_model):
    """MediaPipe's tokenizer keeps a soft hyphen, so the word is an unknown one; BERT's removes it."""
    common = {"model_dir": str(make_model("m", label2id={"a": 0, "b": 1})), "text": "the go\u00adod film"}
    found = [
        predict(compose(PredictSettings, **common, normalization=name))["probabilities"]["a"]
        for name in (None, "bert", "mediapipe")
    ]
    assert found[0] == found[1] != found[2]
    tagger = str(make_model("t", "token_classification", label2id={"O": 0, "B-A": 1}))
    with pytest.raises(InputError, match="truncate=left: has no effect, since words to tag"):
        predict(compose(PredictSettings, model_dir=tagger, text="the film", truncate="left"))
