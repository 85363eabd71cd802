"""A student learns from several teachers, or from a file of logits without any teacher."""

import json

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import get_task, load_task
from tinybert_tf.data.tokenizer import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.settings import compose
from tinybert_tf.train import distill_task as module
from tinybert_tf.train import trainer as trainer_module
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.logits_file import read_logits

pytestmark = pytest.mark.usefixtures("eagerly")

LABELS = {"negative": 0, "positive": 1}
TURNED = {"positive": 0, "negative": 1}
SHORT = {"train_batch_size": 8, "evaluations": 1, "max_steps": 3, "seq_len": 16, "allow_weak_teacher": True}


def settings(glue, tmp_path, **changes):
    named = {"task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "stage": "prediction"}
    return compose(DistillSettings, **named | SHORT | {"student": "2x12x2x24", "init": "random"} | changes)


@pytest.fixture
def learned(monkeypatch):
    """The teacher's logits of every batch that a run learns from, with its features."""
    batches, fit = [], trainer_module.fit

    def watched(run, stage, model, read, steps, **options):
        batches.extend(features for features, *_ in read(0))
        return fit(run, stage, model, read, steps, **options)

    monkeypatch.setattr(trainer_module, "fit", watched)
    return batches


def test_several_teachers_teach_the_weighted_mean_in_the_order_of_the_first_ones_labels(
    glue, make_directory, tmp_path, learned
):
    first = make_directory("first", label2id=LABELS)
    second = make_directory("second", label2id=TURNED, hidden_size=8, num_hidden_layers=2)
    result = distill_task(settings(glue, tmp_path, teacher=f"{first},{second}", teacher_weights="3,1"))
    assert 0 <= result["teacher_score"] <= 1
    assert len(learned) == 3
    for features in learned:
        inputs = {name: features[name] for name in ("input_word_ids", "input_mask", "input_type_ids")}
        one, other = (load_model(d)(inputs)["logits"].numpy() for d in (first, second))
        expected = 0.75 * one + 0.25 * other[:, ::-1]
        np.testing.assert_allclose(features["teacher/logits"], expected, atol=0.02)


@pytest.mark.slow
def test_a_student_with_other_words_learns_its_teachers_logits(glue, make_directory, tmp_path, learned):
    """In the prediction stage alone: each network reads the texts in its own vocabulary."""
    teacher = make_directory("teacher", label2id=LABELS)
    words = (teacher / "vocab.txt").read_text().splitlines()
    words = [*words[:5], *reversed(words[5:])]
    student = make_directory("student", words=words, label2id=TURNED, num_hidden_layers=2)
    result = distill_task(settings(glue, tmp_path, teacher=str(teacher), student=str(student)))
    kept = Tokenizer.from_directory(result["model"]).vocabulary
    assert list(kept) == words and 0 <= result["teacher_score"] <= 1 and result["retention"] is not None
    rows = {tuple(tokens): text for text, tokens in _tokens(student, glue).items()}
    of_teacher, checked = Tokenizer.from_directory(teacher), 0
    for features in learned:
        for ids, mask, logits in zip(
            *(features[name].numpy() for name in ("input_word_ids", "input_mask", "teacher/logits")), strict=True
        ):
            if mask.any():
                read = of_teacher([rows[tuple(ids[: mask.sum()])]], seq_len=16)
                expected = load_model(teacher)(read)["logits"].numpy()[0, ::-1]
                np.testing.assert_allclose(logits, expected, atol=0.02)
                checked += 1
    assert checked >= 20
    with pytest.raises(InputError, match="the vocabularies differ: word 5"):
        distill_task(settings(glue, tmp_path / "both", teacher=str(teacher), student=str(student), stage="both"))
    with pytest.raises(
        InputError, match="teacher_cache=none: keeps no logits, which a teacher with another vocabulary"
    ):
        distill_task(
            settings(glue, tmp_path / "none", teacher=str(teacher), student=str(student), teacher_cache="none")
        )


def _tokens(directory, glue) -> dict[str, list[int]]:
    tokenizer = Tokenizer.from_directory(directory)
    texts = [row.text for row in load_task("sst2", str(glue)).train]
    features = tokenizer(texts, seq_len=16)
    lengths = features["input_mask"].numpy().sum(axis=1)
    return {
        text: ids[:length].tolist()
        for text, ids, length in zip(texts, features["input_word_ids"].numpy(), lengths, strict=True)
    }


def test_a_file_of_logits_takes_the_place_of_a_teacher(glue, make_directory, tmp_path, learned):
    student = make_directory("student", label2id=TURNED, num_hidden_layers=2)
    data = load_task("sst2", str(glue))
    rows = list(data.train)
    logits = np.random.default_rng(0).normal(size=(len(rows), 2)).astype(np.float32)
    lines = ["positive\tnegative", *(f"{positive}\t{negative}" for negative, positive in logits)]
    (tmp_path / "logits.tsv").write_text("\n".join(lines) + "\n")
    result = distill_task(settings(glue, tmp_path, student=str(student), teacher_logits=str(tmp_path / "logits.tsv")))
    assert result["teacher_score"] is None and result["steps"] == 3
    of_text = {}
    for row, logit in zip(rows, logits, strict=True):
        of_text.setdefault(row.text, []).append(logit)
    texts = Tokenizer.from_directory(student)(list(of_text), seq_len=16)["input_word_ids"].numpy()
    of_ids = {tuple(ids[ids > 0]): values for ids, values in zip(texts, of_text.values(), strict=True)}
    assert load_model(result["model"]).config.label2id == LABELS
    for features in learned:
        for ids, given in zip(features["input_word_ids"].numpy(), features["teacher/logits"].numpy(), strict=True):
            wanted = np.array(of_ids[tuple(ids[ids > 0])])
            assert np.abs(wanted - given).sum(axis=1).min() < 1e-5, "a row's own logits, in the order of the classes"


def test_scores_are_learned_from_a_file_too(make_directory, tmp_path, learned):
    student = make_directory("student", head="regression", num_hidden_layers=2)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "word{n % 5}", "score": {n % 5}}}\n' for n in range(24)))
    np.save(tmp_path / "scores.npy", np.arange(24, dtype=np.float32)[:, None] % 5 + 0.5)
    rows = {"train_file": str(tmp_path / "rows.jsonl"), "dev_file": str(tmp_path / "rows.jsonl")}
    columns = {"text_column": "text", "label_column": "score", "label_type": "number"}
    named = {
        "task": "custom",
        "data_dir": None,
        "student": str(student),
        "teacher_logits": str(tmp_path / "scores.npy"),
    }
    result = distill_task(settings("", tmp_path, **named, **rows, **columns))
    assert result["steps"] == 3 and load_model(result["model"]).head == "regression"
    taught = np.concatenate([features["teacher/logits"] for features in learned])
    assert taught.shape == (24, 1) and np.unique(taught).tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]


@pytest.mark.parametrize("suffix", ["npy", "tsv", "jsonl", "list.jsonl"])
def test_every_form_of_file_gives_the_same_logits(tmp_path, suffix):
    logits, path = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32), tmp_path / f"logits.{suffix}"
    if suffix == "npy":
        np.save(path, logits)
    elif suffix == "tsv":
        path.write_text("positive\tnegative\n" + "".join(f"{b}\t{a}\n" for a, b in logits))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"1": float(b), "0": float(a)}) + "\n" for a, b in logits))
    else:
        path.write_text("".join(json.dumps([float(x) for x in row]) + "\n" for row in logits))
    task = get_task("sst2")
    np.testing.assert_array_equal(read_logits(path, task, {"0": 0, "1": 1}), logits)
    np.testing.assert_array_equal(read_logits(path, task, {"0": 1, "1": 0}), logits[:, ::-1])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "1,2\n", "must end in .npy, .tsv, .jsonl"),
        ("l.tsv", "good\tbad\n1\t2\n", "has the labels good, bad, but task sst2 has"),
        ("l.tsv", "0\t1\n1\t2\n1\n", "line 3 has 1 values, but 2 are expected"),
        ("l.tsv", "0\t1\n1\tx\n", "line 2 holds what is no number"),
        ("l.tsv", "0\t1\n1\tnan\n", "row 1 holds a number that is not finite"),
        ("l.tsv", "0\t1\t2\n1\t2\t3\n", r"has the shape \[1, 3\], but task sst2 needs \[rows, 2\]"),
        ("l.jsonl", '{"0": 1, "1": 2}\n{"0": 1}\n', "line 2 has not the labels 0, 1 of line 1"),
        ("l.jsonl", "{\n", "line 1: not valid JSON"),
        ("l.jsonl", "[1, 2\n", "line 1 is not JSON"),
        ("l.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("l.jsonl", '{"0": 1, "1": 2, "1": 3}\n', "line 1: not valid JSON .two entries named '1'"),
        ("l.jsonl", "[1, 1" + "0" * 400 + "]\n", "line 1 holds what is no number"),
        ("l.jsonl", "[1, 2]\n\n[[1], [2]]\n", "line 3 holds what is no number"),
        ("l.jsonl", "[1, 1e40]\n", "row 1 holds a number that is not finite"),
        ("l.tsv", "0\t1\n1\t2\rx\n", "line 2 is no row"),
        ("l.tsv", "0\t1\n\n1\n", "line 3 has 1 values"),
        ("l.tsv", "a\tb\n1\t2\n", "but task sst2 has negative, positive; name the logits by the task's labels"),
        ("l.npy", "", "no array of numbers"),
    ],
)
def test_a_file_that_holds_no_logits_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_logits(tmp_path / name, get_task("sst2"), {"0": 0, "1": 1})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("l.tsv", ["negative\tpositive", "1.5\t-2", "0.25\t3", ""]),
        ("l.TSV", ["positive\tnegative", "-2\t1.5", "", "3\t0.25"]),
        ("l.jsonl", ['{"negative": 1.5, "positive": -2}', '{"positive": 3, "negative": 0.25}', ""]),
        ("l.jsonl", ["[1.5, -2]", "", "[0.25, 3]"]),
    ],
)
def test_byte_order_marks_and_any_line_end_are_read(tmp_path, end, mark, name, lines):
    (tmp_path / name).write_bytes(mark + end.join(lines).encode())
    found = read_logits(tmp_path / name, get_task("sst2"), {"0": 0, "1": 1})
    np.testing.assert_array_equal(found, np.array([[1.5, -2.0], [0.25, 3.0]], np.float32))


@pytest.mark.parametrize(("encoding", "reason"), [("utf-16", r"UTF-16"), ("latin-1", "invalid continuation byte")])
@pytest.mark.parametrize(("name", "text"), [("l.tsv", "é\tx\n1\t2\n"), ("l.jsonl", '{"é": 1, "x": 2}\n')])
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding, reason, name, text):
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=rf"{name}, line 1: not UTF-8 \({reason}.*write the file as UTF-8"):
        read_logits(tmp_path / name, get_task("sst2"), {"0": 0, "1": 1})


def test_several_arrays_are_no_logits(tmp_path):
    with (tmp_path / "l.npy").open("wb") as file:
        np.savez(file, a=np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"l\.npy: no array of numbers \(several arrays\)"):
        read_logits(tmp_path / "l.npy", get_task("sst2"), {"0": 0, "1": 1})


def test_logits_of_other_rows_are_refused(glue, make_directory, tmp_path):
    student = str(make_directory("student", num_hidden_layers=2))
    np.save(tmp_path / "few.npy", np.zeros((39, 2), np.float32))
    with pytest.raises(InputError, match="has 39 rows, but .* has 40 examples"):
        distill_task(settings(glue, tmp_path, student=student, teacher_logits=str(tmp_path / "few.npy")))
    right = np.array([[0.0, 1.0] if row.label == "1" else [1.0, 0.0] for row in load_task("sst2", str(glue)).train])
    np.save(tmp_path / "turned.npy", right[:, ::-1])
    given = {"student": student, "teacher_logits": str(tmp_path / "turned.npy"), "allow_weak_teacher": False}
    with pytest.raises(InputError, match="accuracy on the training set is 0.0000.*another order"):
        distill_task(settings(glue, tmp_path, **given))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "a,b", "objective": "pkd"}, "teacher=a,b: gives logits, but `objective=pkd` reads more"),
        ({"teacher": "a,b", "teacher_weights": "1"}, "teacher_weights=1: must be a number above 0 for each of the 2"),
        ({"teacher": "a,b", "teacher_cache": "none"}, "teacher_cache=none: keeps no logits"),
        ({"teacher_logits": "l.npy", "teacher": "a"}, "takes the place of `teacher`"),
        ({"teacher_logits": "l.npy", "stage": "both"}, "teacher_logits=l.npy: has no layers.*`stage=prediction`"),
        ({"teacher_logits": "l.npy"}, "student=2x12x2x24: takes vocabulary and labels from a teacher"),
        ({}, "teacher is missing"),
    ],
)
def test_what_cannot_be_taught_is_refused(glue, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        distill_task(settings(glue, tmp_path, **changes))


def test_several_teachers_of_tags_are_refused_before_one_of_them_predicts(tmp_path, make_directory, monkeypatch):
    (tmp_path / "words.conll").write_text("the O\nfilm B\n\nbad O\n\n")
    monkeypatch.setattr(module, "score_of_teachers", lambda *_: pytest.fail("no teacher is scored"))
    teacher = make_directory("tagger", head="token_classification", label2id={"O": 0, "B": 1})
    files = {"task": "token_classification", "train_file": str(tmp_path / "words.conll"), "data_dir": None}
    files["dev_file"] = files["train_file"]
    with pytest.raises(InputError, match="only one teacher, .* can teach task token_classification"):
        distill_task(settings(None, tmp_path, teacher=f"{teacher},{teacher}", **files))


def test_scores_without_a_header_are_refused(tmp_path):
    path = tmp_path / "scores.tsv"
    path.write_text("1.5\n2.5\n")
    with pytest.raises(InputError, match=r"scores\.tsv: line 1 is a number, where a \.tsv has a header"):
        read_logits(path, get_task("stsb"), {})
    path.write_text("score\n1.5\n2.5\n")
    assert read_logits(path, get_task("stsb"), {}).tolist() == [[1.5], [2.5]]
