"""A report with a model inside: what is refused, what the page holds, and what it answers in headless Chromium."""

import base64
import gzip
import io
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.web_pages import WEB, chromium, drive, export_random, odd_sentences
from tinybert_tf.errors import InputError
from tinybert_tf.report import live
from tinybert_tf.report.page import write_report
from tinybert_tf.report.report import report_runs

INPUTS = b"input_word_ids input_mask input_type_ids"


def made_file(path: Path, begin: bytes = b"\0\0\0\0TFL3" + INPUTS, **files: str) -> Path:
    """What the report knows a model by: its first bytes, the names of its inputs, and the archive at its end."""
    content = io.BytesIO(begin)
    if files:
        with zipfile.ZipFile(content, "a") as archive:
            for name, text in files.items():
                archive.writestr(f"{name}.txt", text)
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"seed": 1, "result": {"task": "sst2", "score": 0.9}}))
    return folder


@pytest.fixture
def made_runtime(tmp_path, monkeypatch) -> Path:
    """The modules of tflite/web beside a runtime that does nothing."""
    folder = tmp_path / "web"
    folder.mkdir()
    for file in [*WEB.glob("*.js"), *WEB.glob("*.css")]:
        (folder / file.name).symlink_to(file)
    for name in (*live._PACKAGES.values(), live._LOADER, live._BINARY):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"// {name}")
    monkeypatch.setenv("TINYBERT_WEB", str(folder))
    return folder


class Page(HTMLParser):
    """Elements of a page: (tag, attributes, text)."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[list] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def script(self, **attributes: str) -> str:
        (text,) = [
            text for tag, found, text in self.elements if tag == "script" and attributes.items() <= found.items()
        ]
        return text


def test_a_file_that_the_page_cannot_run_is_refused_and_nothing_is_written(tmp_path, run, made_runtime, monkeypatch):
    monkeypatch.setattr(live, "_MOST_BYTES", 1000)
    refused = {
        "no such file": tmp_path / "gone.tflite",
        "not a TFLite file": made_file(tmp_path / "text.tflite", b"what is this", vocab="[PAD]\n"),
        "holds no vocabulary; .* without `text_input`": made_file(tmp_path / "network.tflite", labels="a\n"),
        "no vocabulary": made_file(tmp_path / "short.tflite"),
        "takes no word pieces": made_file(tmp_path / "image.tflite", b"\0\0\0\0TFL3image", vocab="[PAD]\n"),
        "0 MB, and a page can hold": made_file(tmp_path / "large.tflite", vocab="[PAD]\n" * 1000),
    }
    for message, path in refused.items():
        with pytest.raises(InputError, match=message) as error:
            report_runs([run], tmp_path / "out", path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_runtime_is_named_with_the_remedy(tmp_path, run, made_runtime, monkeypatch):
    model = made_file(tmp_path / "model.tflite", vocab="[PAD]\n")
    (made_runtime / live._BINARY).unlink()
    with pytest.raises(
        InputError, match=r"web/node_modules/@litertjs/core/wasm/.*wasm: missing.*make web.*TINYBERT_WEB"
    ):
        report_runs([run], tmp_path / "out", model)
    # As in an installed wheel, which does not carry tflite/web.
    monkeypatch.delenv("TINYBERT_WEB")
    monkeypatch.setattr(live, "_CHECKOUT", tmp_path / "site-packages" / "tflite" / "web")
    with pytest.raises(InputError, match="report.js: missing"):
        report_runs([run], tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_the_page_holds_model_runtime_and_modules(tmp_path, run, made_runtime, caplog):
    model = made_file(tmp_path / "<b>&.tflite", vocab="[PAD]\n")
    with caplog.at_level("INFO"):
        files = report_runs([run], tmp_path / "out", model)
    text = files.html.read_text()
    assert re.search(r"report\.html: 0\.\d MB, with .* inside", caplog.text)
    page = Page(text)
    assert "b" not in {tag for tag, *_ in page.elements}, "the file's name is text"
    assert not [tag for tag, found, _ in page.elements if {"src", "href"} & found.keys()]
    first = next(tag for tag, found, _ in page.elements if tag in ("style", "script") or "http-equiv" in found)
    assert first == "meta" and "default-src data: blob:" in text, "the policy counts for what follows it"

    held = {"live-model": model, "live-loader": made_runtime / live._LOADER, "live-binary": made_runtime / live._BINARY}
    for name, file in held.items():
        assert gzip.decompress(base64.b64decode(page.script(id=name))) == file.read_bytes()
    imports = json.loads(page.script(type="importmap"))["imports"]
    sources = {name: base64.b64decode(address.partition("base64,")[2]).decode() for name, address in imports.items()}
    wanted = {name for source in sources.values() for name in re.findall(r'(?:from|await import\() ?"([^"]+)"', source)}
    # MediaPipe is imported only where its model is opened.
    assert wanted - {"@mediapipe/tasks-text"} <= imports.keys()
    for name in live._MODULES:
        assert sources[f"tinybert/{name}"].replace('"tinybert/', '"./') == (WEB / name).read_text()
    assert page.script(type="module").strip() == 'import "tinybert/report.js";'

    again = report_runs([run], tmp_path / "again", model)
    assert again.html.read_bytes() == files.html.read_bytes()


def test_without_a_model_nothing_of_it_is_in_the_page(tmp_path, run, made_runtime):
    with_model = report_runs([run], tmp_path / "a", made_file(tmp_path / "model.tflite", vocab="[PAD]\n"))
    without = report_runs([run], tmp_path / "b")
    text = without.html.read_text()
    assert not re.search("script|Content-Security-Policy|Try it|fields", text)
    parts = live.live_model(tmp_path / "model.tflite")
    shortened = with_model.html.read_text()
    for part in (parts.head, f"{parts.section}\n", f"\n{parts.scripts}"):
        assert shortened.count(part) == 1
        shortened = shortened.replace(part, "")
    assert shortened == text
    for one, other in ((with_model.markdown, without.markdown), (with_model.csv, without.csv)):
        assert one.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A function: (head, texts and second texts) -> (the file, what a report with it shows for each)."""
    sentences = odd_sentences(40)

    def answer(head, texts, seq_len=48, quantize="none"):
        chromium()  # or a skip, before anything is exported
        folder = tmp_path_factory.mktemp("live")
        path = export_random(folder, sentences, head, seq_len, quantize)
        files = write_report(folder / "out", "Run", [], {}, [], {}, live=path)
        results = drive(folder, files.html, texts)
        return path, [[tuple(row.split("\n")) for row in rows] for rows in results["typed"]]

    return answer


@pytest.mark.parametrize("kind", ["texts", "pairs"])
def test_the_page_answers_as_python_does(answers, kind):
    from tinybert_tf.export import TFLiteClassifier

    sentences = odd_sentences(40)
    seconds = [None if kind == "texts" else text for text in sentences[::-1]]
    path, typed = answers("classification", list(zip(sentences, seconds, strict=True)), (48, 24))
    classifier = TFLiteClassifier(path)
    expected = classifier.predict(sentences, None if kind == "texts" else seconds)
    labels = [classifier.labels[index] for index in expected.argmax(axis=-1)]
    assert "<script>bad" in labels, "a label is shown as text, whatever it holds"
    assert [rows[0][0] for rows in typed] == labels
    shown = [[float(dict(rows)[label]) for label in classifier.labels] for rows in typed]
    np.testing.assert_allclose(shown, expected, atol=0.002)  # three decimals are shown


def test_a_question_is_answered_from_the_second_text(answers):
    texts = odd_sentences(2)
    _, [[(answer, score)]] = answers("span", [tuple(texts)])
    assert answer in texts[1] and float(score)
