"""A report holds everything, can be moved about, and does not run what it quotes."""

import base64
import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.report.attention_maps import plot_attention
from tinybert_tf.report.page import summary, write_report
from tinybert_tf.report.report import report_runs

MODELS = [
    {"model": "teacher", "score": 0.90, "parameters": 22_000_000, "encoder_flops": 2.4e9, "float_mb": 86.0},
    {
        "model": "student",
        "score": 0.81,
        "retention": 0.9,
        "parameters": 11_000_000,
        "encoder_flops": 1.2e9,
        "int8_mb": 14.46,
    },
    {"model": "alone", "score": 0.70, "parameters": 11_000_000},
]


class Page(HTMLParser):
    """What a browser would make of the file: tags, and the sources of pictures."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text(
        "".join(json.dumps({"stage": "a", "step": i, "split": "train", "loss": 1 / i}) + "\n" for i in (1, 2))
    )
    return path


@pytest.fixture
def picture(tmp_path):
    return plot_attention([[[[1.0]]]], [[[[1.0]]]], ["a"], [(1, 1)], tmp_path / "attention.png")


def test_the_page_is_one_file_and_the_markdown_names_pictures_beside_it(tmp_path, metrics, picture):
    settings = {"seed": 1, "train": {"learning_rate": 5e-5}}
    files = write_report(tmp_path / "out", "My run", MODELS, {"the student": metrics}, [("Maps", picture)], settings)
    page = Page(files.html.read_text())
    assert len(page.sources) == 2 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    markdown = files.markdown.read_text()
    assert re.findall(r"!\[.*\]\(<(.*)>\)", markdown) == ["curves-the-student.png", "attention.png"]
    assert "| train.learning_rate | 5e-05 |" in markdown
    names = {"report.html", "report.md", "results.csv", "curves-the-student.png", "attention.png"}
    assert {path.name for path in files.html.parent.iterdir()} == names

    rows = list(csv.DictReader(files.csv.open()))
    assert list(rows[0]) == ["model", "score", "retention", "parameters", "encoder_flops", "float_mb", "int8_mb"]
    assert float(rows[1]["int8_mb"]) == 14.46 and rows[2]["retention"] == ""


def test_what_is_quoted_stays_text(tmp_path):
    evil = '<script>alert("1")</script>'
    files = write_report(tmp_path, evil, [{"model": evil, "score": 0.5}], {}, [], {evil: evil})
    assert "script" not in Page(files.html.read_text()).tags
    assert "<script" not in files.markdown.read_text()


def test_writing_again_replaces_the_report(tmp_path, picture):
    for title in ("first", "second"):
        files = write_report(tmp_path, title, MODELS, {}, [("Maps", picture)], {})
    assert re.findall(r"<h1>(.*)</h1>", files.html.read_text()) == ["second"]
    assert picture.is_file(), "a picture that is already beside the report stays"


def test_a_bad_input_writes_nothing(tmp_path, metrics):
    metrics.write_text("{")
    with pytest.raises(InputError, match=r"metrics.jsonl, line 1"):
        write_report(tmp_path / "out", "run", MODELS, {"student": metrics}, [], {})
    with pytest.raises(InputError, match=r"gone.png: no such file"):
        write_report(tmp_path / "out", "run", MODELS, {}, [("Maps", tmp_path / "gone.png")], {})
    with pytest.raises(ValueError, match="unknown columns.*'size'"):
        write_report(tmp_path / "out", "run", [{"model": "a", "size": 3}], {}, [], {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("sst2_a", "sst2-a"), ["curves-sst2-a.png", "curves-sst2-a-2.png"]),
        (("\u6a21\u578b", "\u5b66\u751f"), ["curves-run.png", "curves-run-2.png"]),
        (("together", "other"), ["curves-together.png", "curves-together-2.png", "curves-other.png"]),
    ],
)
def test_each_training_has_a_picture_of_its_own(names, files, tmp_path):
    curves = {name: tmp_path / f"{number}.jsonl" for number, name in enumerate(names, 1)}
    for number, path in enumerate(curves.values(), 1):
        dev = [{"stage": "a", "step": i, "split": "dev", "score": i / 10 / number} for i in (1, 2)]
        path.write_text("".join(map("{}\n".format, map(json.dumps, dev[: 2 if "together" in names else 1]))))
    report = write_report(tmp_path / "out", "runs", [], curves, [], {})
    assert re.findall(r"!\[.*\]\(<(.*)>\)", report.markdown.read_text()) == files
    assert len(set(Page(report.html.read_text()).sources)) == len(files)


def test_figures_of_equal_names_stay_apart_also_from_one_that_is_beside_the_report(tmp_path, picture):
    figures = [tmp_path / folder / name for folder, name in (("a", "attention.png"), ("b", "Attention.png"))]
    for number, path in enumerate(figures):
        path.parent.mkdir()
        path.write_bytes(bytes([number]))
    figures.append(shutil.move(picture, tmp_path / "b" / "attention.png"))
    content = [path.read_bytes() for path in figures]
    report = write_report(tmp_path / "b", "run", [], {}, [("Maps", path) for path in figures[::2]], {})
    assert re.findall(r"<(.*)>\)", report.markdown.read_text()) == ["attention-2.png", "attention.png"]
    report = write_report(tmp_path / "out", "run", [], {}, [("Maps", path) for path in figures], {})
    sources = Page(report.html.read_text()).sources
    assert [base64.b64decode(source.split(",")[1]) for source in sources] == content
    assert len({path.name.casefold() for path in report.html.parent.glob("*.png")}) == 3


def test_a_run_that_has_just_begun_has_no_picture_yet(tmp_path, metrics):
    young = tmp_path / "young.jsonl"
    young.write_text(json.dumps({"stage": "general", "step": 0, "split": "held_out", "loss": 3.0}) + "\n")
    report = write_report(tmp_path / "out", "runs", MODELS, {"student": metrics, "young": young}, [], {})
    assert [path.name for path in report.html.parent.glob("*.png")] == ["curves-student.png"]


def test_one_sentence_says_what_came_out():
    assert summary(MODELS) == (
        "student scores 81.0, 90.0% of teacher (90.0), with 2.0 times fewer parameters and 2.0 times fewer encoder FLOPs; "
        "as TFLite 14.5 MB."
    )
    tasks = [row | {"task": task} for row, task in zip(MODELS, ("cola", "sst2", "sst2"), strict=True)]
    assert summary(tasks) == "", "scores of several tasks are not compared"
    assert summary(MODELS[:1]) == "" and summary([{"model": "a", "score": 0.5}]) == ""


def test_a_report_of_several_runs(tmp_path, metrics):
    student = {"task": "sst2", "score": 0.81, "retention": 0.9, "metrics": {"accuracy": 0.81}}
    results = {"run": {"task": "cola", "score": 0.4, "metrics": {"matthews": 0.4}}, "student": student, "begun": {}}
    for name, result in results.items():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "run.json").write_text(json.dumps({"settings": {"task": "x"}, "seed": 3, "result": result}))
    files = report_runs([tmp_path / name for name in results], tmp_path / "out")
    rows = {row["model"]: row for row in csv.DictReader(files.csv.open())}
    assert list(rows) == ["run", "student"]
    assert rows["run"]["task"] == "cola" and rows["student"]["retention"] == "0.9"
    assert "run.settings.task" in files.markdown.read_text() and "curves-run.png" in files.markdown.read_text()

    together = report_runs([tmp_path], tmp_path / "out").csv.read_text()
    assert "student" in together, "a folder of runs stands for all of them"


@pytest.mark.parametrize("content", [None, "[]", '{"result": 3}', "{"])
def test_a_folder_that_is_no_run_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        report_runs([tmp_path], tmp_path / "out")


def test_a_run_named_twice_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="names .* twice"):
        report_runs([tmp_path, tmp_path], tmp_path / "out")
