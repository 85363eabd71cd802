import zipfile

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import TASKS, Tokenizer, load_task
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import predict as program
from tinybert_tf.evaluate.logits import predict_logits
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.evaluate.submission import TEST_ROWS, submission_words, write_submission, zip_submissions
from tinybert_tf.settings import compose

pytestmark = pytest.mark.usefixtures("eagerly")

# GLUE's own words for the classes of each file.
DIGITS = {"0", "1"}
NLI = {"entailment", "not_entailment"}
MNLI = {"entailment", "neutral", "contradiction"}
WORDS = {
    "CoLA.tsv": DIGITS, "SST-2.tsv": DIGITS, "MRPC.tsv": DIGITS, "QQP.tsv": DIGITS, "WNLI.tsv": DIGITS,
    "MNLI-m.tsv": MNLI, "MNLI-mm.tsv": MNLI, "AX.tsv": MNLI, "QNLI.tsv": NLI, "RTE.tsv": NLI,
}  # fmt: skip
TESTS = {
    "cola": ("CoLA", {"test": "CoLA.tsv"}, "index\tsentence"),
    "sst2": ("SST-2", {"test": "SST-2.tsv"}, "index\tsentence"),
    "mrpc": ("MRPC", {"test": "MRPC.tsv"}, "index\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "stsb": ("STS-B", {"test": "STS-B.tsv"}, "index\tgenre\tsentence1\tsentence2"),
    "qqp": ("QQP", {"test": "QQP.tsv"}, "id\tquestion1\tquestion2"),
    "mnli": ("MNLI", {"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"}, "index\tsentence1\tsentence2"),
    "qnli": ("QNLI", {"test": "QNLI.tsv"}, "index\tquestion\tsentence"),
    "rte": ("RTE", {"test": "RTE.tsv"}, "index\tsentence1\tsentence2"),
    "wnli": ("WNLI", {"test": "WNLI.tsv"}, "index\tsentence1\tsentence2"),
    "ax": ("AX", {"test": "AX.tsv"}, "index\tsentence1\tsentence2"),
}


@pytest.fixture
def glue(tmp_path):
    """A function that writes the test files of a task, as many rows in each as are asked for."""

    def write(name, rows):
        folder, files, header = TESTS[name]
        (tmp_path / "glue" / folder).mkdir(parents=True, exist_ok=True)
        texts = ("the film was good", "not bad", "films", 'he said "film', "the the the was not good")
        for split, submission in files.items():
            lines = [header]
            for n in range(rows[submission]):
                values = [texts[n % 5]] if header == "index\tsentence" else [texts[n % 5], texts[n * 7 // 3 % 5]]
                between = ["-"] * (header.count("\t") - len(values))
                lines.append("\t".join([str(n), *between, *values]))
            (tmp_path / "glue" / folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        return tmp_path / "glue"

    return write


def settings(name, model, data, output):
    return compose(
        PredictSettings,
        task=name,
        model_dir=str(model),
        data_dir=str(data),
        output_dir=str(output),
        seq_len=24,
        batch_size=256,
    )


def test_all_eleven_files_have_glues_names_rows_header_and_words(glue, tmp_path, caplog, monkeypatch):
    """The published code leaves out WNLI, MNLI's mismatched set and the test sets."""
    output = tmp_path / "out"

    def random_model(model_dir, data, batch_size):
        """Reads the files as always; only the network is left out."""
        data = data.load()

        class RandomModel:
            def predict(self, split):
                shape = (sum(1 for _ in split), max(1, len(data.task.labels)))
                return np.random.default_rng(0).normal(2.5, 3, shape), None

        model = RandomModel()
        model.data = data
        return model

    monkeypatch.setattr(program, "open_task_model", random_model)
    for name in TESTS:
        result = predict(settings(name, "", glue(name, TEST_ROWS), output))
        assert result["rows"] == {submission: TEST_ROWS[submission] for submission in TESTS[name][1].values()}
    assert result["missing"] == []
    assert {path.name for path in output.iterdir()} == TEST_ROWS.keys() | {"submission.zip"}

    for name, count in TEST_ROWS.items():
        lines = (output / name).read_bytes().decode().split("\n")
        assert lines[0] == "index\tprediction" and lines[-1] == ""
        indices, words = zip(*(line.split("\t") for line in lines[1:-1]), strict=True)
        assert indices == tuple(map(str, range(count)))
        if name == "STS-B.tsv":
            assert all(0 <= float(word) <= 5 for word in words) and len(set(words)) > 3
        else:
            assert set(words) <= WORDS[name]
            assert len(set(words)) > 1, f"{name}: a test of one class shows little"
    with zipfile.ZipFile(output / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(TEST_ROWS)
        assert all(archive.read(name) == (output / name).read_bytes() for name in TEST_ROWS)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_words_follow_the_models_own_order_of_classes(glue, make_model, tmp_path):
    data = glue("mnli", {"MNLI-m.tsv": 9, "MNLI-mm.tsv": 7})
    order = {"entailment": 0, "neutral": 1, "contradiction": 2}
    model = make_model("m", "classification", order)
    predict(settings("mnli", model, data, tmp_path / "out"))
    # Asked without regard to names, the same network gives logits in the order of its own ids.
    task, network = load_task("mnli", data), load_model(model)
    logits, _ = predict_logits(
        network, task.test, Tokenizer.from_directory(model), task.task, seq_len=24,
        ids={word: index for index, word in enumerate(task.task.labels)},
    )  # fmt: skip
    words = [line.split("\t")[1] for line in (tmp_path / "out" / "MNLI-m.tsv").read_text().splitlines()[1:]]
    assert words == [list(order)[index] for index in logits.argmax(axis=-1)]


def test_a_wrong_number_of_rows_is_said(tmp_path, caplog):
    write_submission(tmp_path / "RTE.tsv", ["entailment"] * 40)
    assert "RTE.tsv has 40 rows, but GLUE's test set has 3000" in caplog.text


def test_scores_are_kept_in_their_range():
    logits = np.array([[-0.2], [5.3], [2.34567]])
    assert submission_words(TASKS["stsb"], logits) == ["0.000", "5.000", "2.346"]


def test_an_archive_says_what_is_missing(tmp_path, caplog):
    write_submission(tmp_path / "WNLI.tsv", ["0"] * 146)
    assert not caplog.messages
    archive, present, missing = zip_submissions(tmp_path)
    assert archive == tmp_path / "submission.zip" and present == ["WNLI.tsv"] and len(missing) == 10


def test_a_model_of_another_task_is_refused(glue, make_model, tmp_path):
    model = make_model("m", "classification", {"negative": 0, "positive": 1})
    with pytest.raises(InputError, match="has the labels negative, positive, but task rte has entailment"):
        predict(settings("rte", model, glue("rte", {"RTE.tsv": 3}), tmp_path / "out"))
    with pytest.raises(InputError, match="has the head 'classification', but task stsb needs 'regression'"):
        predict(settings("stsb", model, glue("stsb", {"STS-B.tsv": 3}), tmp_path / "out"))
    with pytest.raises(InputError, match=r"seq_len=200: the model has 128 positions"):
        predict(
            compose(
                PredictSettings,
                task="sst2",
                model_dir=str(model),
                data_dir=str(tmp_path / "glue"),
                output_dir="x",
                seq_len=200,
            )
        )
