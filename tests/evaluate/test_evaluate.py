import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.settings import compose

HEADER = "index\tsentence1\tsentence2\tgold_label\n"


@pytest.mark.usefixtures("eagerly")
def test_mnlis_matched_set_decides_and_the_mismatched_stands_beside_it(make_model, tmp_path):
    """The published code mixes them up after its first save."""
    labels = ("contradiction", "entailment", "neutral")
    model = make_model("m", "classification", {label: index for index, label in enumerate(labels)})
    (tmp_path / "MNLI").mkdir()
    for name, rows in (("dev_matched", 5), ("dev_mismatched", 40)):
        lines = "".join(f"{n}\tthe film\tnot {('good', 'bad')[n % 2]}\t{labels[n % 3]}\n" for n in range(rows))
        (tmp_path / "MNLI" / f"{name}.tsv").write_text(HEADER + lines)
    common = {"task": "mnli", "model_dir": str(model), "data_dir": str(tmp_path), "seq_len": 16}
    found = evaluate_model(compose(EvaluateSettings, **common))
    alone = {
        name: evaluate_model(compose(EvaluateSettings, **common, split=name))
        for name in ("dev_matched", "dev_mismatched")
    }
    assert found["metrics"] == {
        "accuracy": alone["dev_matched"]["score"],
        "dev_mismatched_accuracy": alone["dev_mismatched"]["score"],
    }
    assert found["score"] == alone["dev_matched"]["score"]


def test_what_cannot_be_scored_is_refused(make_model, tmp_path):
    model = make_model("m", "classification", {"contradiction": 0, "entailment": 1, "neutral": 2})
    with pytest.raises(InputError, match="ax has no dev set"):
        evaluate_model(compose(EvaluateSettings, task="ax", model_dir=str(model), data_dir=str(tmp_path)))
    with pytest.raises(InputError, match="batch_size=0: must be at least 1"):
        compose(EvaluateSettings, task="ax", model_dir=str(model), batch_size=0)


def test_a_split_without_labels_has_no_score(make_model, tmp_path):
    model = make_model("m", "classification", {"negative": 0, "positive": 1})
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tthe film was good\n")
    with pytest.raises(InputError, match=r"test\.tsv: has no labels to score against; bin/predict.py"):
        evaluate_model(
            compose(EvaluateSettings, task="sst2", model_dir=str(model), data_dir=str(tmp_path), split="test")
        )


@pytest.mark.usefixtures("eagerly")
def test_texts_that_are_cut_are_said(make_model, tmp_path, caplog):
    model = make_model("m", "classification", {"negative": 0, "positive": 1})
    path = tmp_path / "dev.tsv"
    path.write_text("sentence\tlabel\n" + "the film was good\t1\n" * 9 + "the film was not bad\t1\n")
    common = {"task": "sst2", "model_dir": str(model), "data_dir": str(tmp_path)}
    evaluate_model(compose(EvaluateSettings, **common, seq_len=8))
    assert "not read" not in caplog.text
    evaluate_model(compose(EvaluateSettings, **common, seq_len=7))
    assert f"{path}: 10% of the texts fill all 7 tokens of `seq_len`; what is beyond is not read" in caplog.text


def test_texts_are_normalized_as_the_settings_say(make_model, tmp_path, monkeypatch):
    model = make_model("m", "classification", {"negative": 0, "positive": 1})
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nthe film was good\t1\n")
    opened = []
    monkeypatch.setattr(TaskModel, "score", lambda own, split: opened.append(own.tokenizer.spec) or {"accuracy": 1.0})
    for name in (None, "mediapipe"):
        common = {"task": "sst2", "model_dir": str(model), "data_dir": str(tmp_path), "seq_len": 16}
        evaluate_model(compose(EvaluateSettings, **common, normalization=name))
    assert [spec.normalization for spec in opened] == ["bert", "mediapipe"]
