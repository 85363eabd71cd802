"""Parity is measured, not assumed: what it says of a file is what the file does."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tinybert_tf.bert import build_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.export import Comparison, TFLiteModel, compare_on_task, export_tflite, read_metadata, score_file
from tinybert_tf.export.classifier import file_head
from tinybert_tf.settings import compose


def compare(model, path, features, labels=(0, 0, 0, 0)):
    """A network and a file on the same rows; the metric is accuracy or, of a regressor, the mean value."""
    file = TFLiteModel(path)

    def score(logits):
        return float((logits.argmax(-1) == labels).mean() if logits.shape[-1] > 1 else logits.mean())

    return Comparison(model, file.pad(features), score)(file)


def test_a_float_export_agrees_with_keras(model_dir, exported, features):
    report = compare(load_model(model_dir()), exported().path, features, labels=(0, 1, 2, 0))
    assert report.max_logit_error < 1e-4
    assert (report.drop, report.agreement, report.examples) == (0.0, 1.0, 4)
    assert report.keras_score == report.tflite_score


def test_the_logit_error_is_that_of_the_logits(model_dir, exported, features):
    """A shift of one logit by 0.3 moves centered logits of three classes by 0.2, 0.1 and 0.1."""
    model = load_model(model_dir())
    model.head_layer.bias.assign_add([0.3, 0.0, 0.0])
    assert compare(model, exported().path, features).max_logit_error == pytest.approx(0.2, abs=1e-3)


def test_no_example_is_refused(model_dir, exported, features):
    with pytest.raises(InputError, match="no example"):
        compare(load_model(model_dir()), exported().path, {name: value[:0] for name, value in features.items()})


def test_a_regressor_is_compared_by_its_values(model_dir, exported, features):
    model = load_model(model_dir("regression"))
    model.head_layer.bias.assign_add([0.5])
    report = compare(model, exported("regression").path, features)
    assert report.max_logit_error == pytest.approx(0.5, abs=1e-4)
    assert report.drop == pytest.approx(0.5, abs=1e-4)
    assert report.agreement is None


def test_a_file_of_another_model_is_refused(model_dir, exported, features):
    with pytest.raises(InputError, match=r"returns \[4, 3\], the Keras model \[4, 1\]"):
        compare(load_model(model_dir("regression")), exported().path, features)


def test_a_task_is_scored_on_both_sides(model_dir, tmp_path):
    """Rows, tokens and the order of labels go through the same code as in training."""
    config = load_model(model_dir()).config.replace(label2id={"positive": 0, "negative": 1})
    from tinybert_tf.checkpoints import save_model

    save_model(build_model(config, "classification"), tmp_path / "model", tokenizer_from=model_dir())
    export_tflite(tmp_path / "model", tmp_path / "a.tflite", seq_len=8)
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("sentence\tlabel\nfilm w1\t1\nw2\t0\nw3 w4 w5 w6 w7 w8 w9 w10 w11\t0\n")
    report = compare_on_task(tmp_path / "model", tmp_path / "a.tflite", "sst2", tmp_path / "glue")
    assert (report.examples, report.drop) == (3, 0.0)
    assert report.max_logit_error < 1e-4
    with pytest.raises(InputError, match="head 'regression', but task sst2 needs 'classification'"):
        compare_on_task(model_dir("regression"), tmp_path / "a.tflite", "sst2", tmp_path / "glue")


@pytest.mark.parametrize(
    "file, change, message",
    [
        (
            "vocab.txt",
            lambda text: "\n".join(["[PAD]", *reversed(text.split()[1:])]),
            "has another vocabulary than .*model; convert",
        ),
        (
            "tokenizer_config.json",
            lambda text: json.dumps(json.loads(text) | {"do_lower_case": False}),
            "prepares texts by {'lower_case': True}, but .*model by {'lower_case': False}",
        ),
        (
            "config.json",
            lambda text: text.replace('"bad"', '"x"').replace('"good"', '"bad"').replace('"x"', '"good"'),
            r"has the labels \('bad', 'good', 'so so'\), but .*model \['good', 'bad', 'so so'\]",
        ),
    ],
)
def test_a_file_of_a_model_with_other_texts_or_labels_is_refused(model_dir, tmp_path, file, change, message):
    """A score of such a file says nothing about the model: texts become other tokens, or classes change places."""
    shutil.copytree(model_dir(), tmp_path / "model")
    export_tflite(tmp_path / "model", tmp_path / "a.tflite", seq_len=8)
    path = tmp_path / "model" / file
    path.write_text(change(path.read_text() if path.exists() else "{}"))
    with pytest.raises(InputError, match=f"a.tflite: {message}"):
        compare_on_task(tmp_path / "model", tmp_path / "a.tflite", "sst2")


def test_a_file_scores_itself(model_dir, tmp_path):
    """With its own labels, whose order need not be the task's."""
    from tinybert_tf.checkpoints import save_model
    from tinybert_tf.export import TFLiteClassifier

    config = load_model(model_dir()).config.replace(label2id={"positive": 0, "negative": 1})
    save_model(build_model(config, "classification"), tmp_path / "model", tokenizer_from=model_dir())
    report = export_tflite(tmp_path / "model", tmp_path / "a.tflite", seq_len=8)
    texts = [f"w{number} w{2 * number} film" for number in range(20)]
    wanted = TFLiteClassifier(report.path).classify(texts)
    wanted[:5] = ["negative" if label == "positive" else "positive" for label in wanted[:5]]
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    rows = [f"{text}\t{int(label == 'positive')}\n" for text, label in zip(texts, wanted, strict=True)]
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    assert score_file(report.path, "sst2", tmp_path / "glue") == 0.75
    with pytest.raises(InputError, match="is a file for classification, but task stsb needs 'regression'"):
        score_file(report.path, "stsb", tmp_path / "glue")


def test_a_vector_is_no_score(model_dir, exported, tmp_path):
    """A file of an embedding has no labels either, as that of a regressor. Files of earlier versions do not name their head."""
    path = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=8, output_vector="mean").path
    folder = tmp_path / "glue" / "STS-B"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tscore\n0\tw1\tw2\t3.5\n1\tw3\tfilm\t1\n")
    with pytest.raises(InputError, match=r"a.tflite: gives a vector of a text \(mean\), which no task scores; convert"):
        score_file(path, "stsb", tmp_path / "glue")
    for head in ("classification", "token_classification", "regression", "span"):
        metadata, shapes = read_metadata(exported(head).path), TFLiteModel(exported(head).path).outputs
        assert metadata.head == head == file_head(dataclasses.replace(metadata, head=None), shapes)


def test_positions_are_compared_where_there_are_tokens(model_dir, exported, features):
    from tinybert_tf.export import Comparison

    for head in ("span", "token_classification"):
        comparison = Comparison(load_model(model_dir(head)), features, lambda logits: float(len(logits)))
        report = comparison(TFLiteModel(exported(head).path))
        assert report.max_logit_error < 1e-4
        assert (report.agreement, report.examples, report.keras_score) == (1.0, 4, 4.0)


def test_questions_are_scored_by_their_answers(model_dir, tmp_path):
    from tinybert_tf.data import get_task, squad

    examples = [
        squad.SquadExample(str(number), f"w{number} w2", "w3 film w4 w5 w6 w7", (squad.Answer("film w4", 3),))
        for number in range(3)
    ]
    squad.write_squad(tmp_path / "dev-v1.1.json", examples, get_task("squad1"))
    export_tflite(model_dir("span"), tmp_path / "a.tflite", seq_len=16)
    report = compare_on_task(model_dir("span"), tmp_path / "a.tflite", "squad1", tmp_path)
    assert (report.examples, report.drop, report.agreement) == (3, 0.0, 1.0)
    assert report.max_logit_error < 1e-4
    assert 0 <= report.keras_score <= 1


def test_tags_are_scored_by_entities():
    from tinybert_tf.data import Split, Task
    from tinybert_tf.data.split import Example
    from tinybert_tf.export.parity import _entity_score

    task = Task("tags", "token_classification", "", ("O", "B-x"), 0, None, 1, ("f1",), unseen=("B-y",))
    rows = Split(
        "dev", "memory", lambda: iter([Example(0, "a b c d", None, "B-x B-y O B-x"), Example(1, "e f", None, "O B-x")])
    )
    ids = {"B-x": 0, "O": 1, "B-y": 2}
    is_word = np.array([[0, 1, 1, 0, 1], [0, 1, 0, 1, 0]], bool)  # "d" is cut off, "e" has two tokens
    score = _entity_score(task, rows, ids, is_word)
    best = np.array([[1, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    # Two of four entities are found and none too many.
    assert score(np.eye(2)[best]) == pytest.approx(2 / 3)
    best[0, 2] = 0  # B-x for "b", which is a B-y
    assert score(np.eye(2)[best]) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


@pytest.mark.parametrize("head", ["token_classification", "span"])
def test_files_of_every_kind_score_themselves(head, model_dir, exported, tmp_path):
    """As `compare_on_task` scores them, whose tokenizer and labels come from the model directory."""
    from tinybert_tf.data import get_task, squad
    from tinybert_tf.data.custom import CustomFiles

    if head == "span":
        task, folder, files = "squad1", str(tmp_path), None
        examples = [squad.SquadExample(str(n), f"w{n}", "w3 film w4 w5", (squad.Answer("w4", 8),)) for n in range(3)]
        squad.write_squad(tmp_path / "dev-v1.1.json", examples, get_task("squad1"))
    else:
        task, folder, files = head, None, CustomFiles(dev_file=str(tmp_path / "dev.conll"))
        # Sentences longer than the file reads, and a tag that the model does not have.
        tags = ("bad", "good", "odd")
        words = "".join(f"w{n} {tags[n % 3]}\n" + "\n" * (n % 25 == 24) for n in range(60))
        (tmp_path / "dev.conll").write_text(words)
    path = exported(head).path
    report = compare_on_task(model_dir(head), path, task, folder, files=files)
    assert score_file(path, task, folder, files) == report.tflite_score == report.keras_score
    settings = {"task": task, "model_dir": str(model_dir(head)), "data_dir": folder, "seq_len": 12}
    evaluated = evaluate_model(compose(EvaluateSettings, **settings, **({"dev_file": files.dev_file} if files else {})))
    assert report.keras_score == pytest.approx(evaluated["score"], abs=1e-6)
