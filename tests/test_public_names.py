"""Every public name is documented: its arguments, what it returns and raises, and an example that runs."""

import contextlib
import csv
import doctest
import inspect
import io
import itertools
import re
import shutil
from pathlib import Path

import pytest

import tinybert_tf as tb
from tinybert_tf.data.sample import sample_split

CALLABLES = [name for name in tb.__all__ if callable(getattr(tb, name))]
MODULES = [name for name in tb.__all__ if inspect.ismodule(getattr(tb, name))]
_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)


def documented(docstring: str) -> set[str]:
    """The names that the sections Args and Attributes explain."""
    sections = re.findall(r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", docstring, re.S | re.M)
    entries = re.findall(r"^ {4}(\*{0,2}\w+(?:, \w+)*):", "\n".join(sections), re.M)
    return {name.strip("*") for entry in entries for name in entry.split(", ")}


def returns_nothing(function) -> bool:
    return inspect.isclass(function) or inspect.signature(function).return_annotation in (None, "None")


def test_no_name_is_left_out():
    assert sorted([*CALLABLES, *MODULES, "__version__"]) == sorted(tb.__all__)


def test_the_page_of_the_documentation_lists_all_names():
    page = (Path(__file__).resolve().parents[1] / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    listed = {line.split(".")[-1] for line in page.splitlines() if line.startswith("::: ")}
    assert listed == {*CALLABLES, *MODULES}


@pytest.mark.parametrize("name", CALLABLES)
def test_arguments_results_and_errors_are_documented(name):
    value = getattr(tb, name)
    docstring = inspect.getdoc(value)
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name not in ("self", "kwargs")]
    assert {p.name for p in parameters} <= documented(docstring)
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters), "an argument has no type"
    assert returns_nothing(value) or "\nReturns:\n" in docstring
    assert "\nRaises:\n" in docstring or issubclass(value, Exception)


@pytest.mark.parametrize(
    "name", ["attention_loss", "hidden_loss", "embedding_loss", "prediction_loss", "regression_loss"]
)
def test_losses_give_the_shapes_of_their_arguments(name):
    docstring = inspect.getdoc(getattr(tb.losses, name))
    assert "student: float [B" in docstring and "teacher: float [B" in docstring
    assert "Returns:" in docstring and ">>> " in docstring


@pytest.mark.parametrize("name", tb.objectives.__all__)
def test_objectives_are_documented(name):
    assert inspect.getdoc(getattr(tb.objectives, name))


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory in which examples find what they name: small networks, a task, texts."""
    folder = tmp_path_factory.mktemp("examples")
    train, dev = (list(itertools.islice(sample_split(split), 48)) for split in ("train", "dev"))
    (folder / "glue" / "SST-2").mkdir(parents=True)
    for split, rows in (("train", train), ("dev", dev)):
        lines = "".join(f"{row.text}\t{int(row.label == 'positive')}\n" for row in rows)
        (folder / "glue" / "SST-2" / f"{split}.tsv").write_text("sentence\tlabel\n" + lines)
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("review", "stars"), *((row.text, row.label) for row in rows)])
    words = sorted({word for row in (*train, *dev) for word in row.text.split()})
    vectors = "".join(f"{word} {len(word)} {index % 7} 1\n" for index, word in enumerate(words))
    (folder / "glove.6B.300d.txt").write_text(vectors)
    characters = [chr(code) for code in range(33, 127)]
    # More entries than the example of `prune` keeps.
    others = (f"unused{number}" for number in range(8000))
    entries = dict.fromkeys(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    )
    vocabulary = [*entries, *(word for word in words if word not in entries), *others]
    (folder / "vocabulary").mkdir()
    (folder / "vocabulary" / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = tb.BertConfig(
        vocab_size=len(vocabulary), hidden_size=12, num_hidden_layers=4, num_attention_heads=12, intermediate_size=16,
        max_position_embeddings=128, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    for name, head, changes in (
        ("bert-finetuned", "classification", {}),
        ("runs/masked_lm", "masked_lm", {"label2id": None}),
        # As wide as the student that the package's own example makes of it.
        ("runs/teacher/model", "classification", {"hidden_size": 312, "intermediate_size": 1200}),
    ):
        model = tb.build_model(config.replace(**changes), head)
        tb.save_model(model, folder / name, tokenizer_from=folder / "vocabulary")
    for name in ("runs/sst2/model", "runs/student/model"):
        shutil.copytree(folder / "bert-finetuned", folder / name)
    tb.export_tflite(folder / "bert-finetuned", folder / "tinybert.tflite", seq_len=32)
    return folder


@pytest.mark.parametrize("name", [*CALLABLES, *MODULES, pytest.param("tinybert_tf", marks=pytest.mark.slow)])
def test_the_example_of_a_name_runs(name, directory, tmp_path, monkeypatch):
    value = tb if name == "tinybert_tf" else getattr(tb, name)
    docstring = inspect.getdoc(value)
    blocks, module = _PYTHON_BLOCK.findall(docstring), inspect.getmodule(value)
    examples = [
        test for test in doctest.DocTestFinder(recurse=inspect.ismodule(value)).find(value, name) if test.examples
    ]
    assert blocks or examples
    runner, output = doctest.DocTestRunner(), io.StringIO()
    for test in examples:
        test.globs = dict(vars(module)) | test.globs
        runner.run(test, out=output.write)
    assert not runner.failures, output.getvalue()
    if not blocks:
        return
    shutil.copytree(directory, tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    tokenizer, model = tb.Tokenizer.from_directory("bert-finetuned"), tb.load_model("bert-finetuned")
    names = {"tb": tb, "tokenizer": tokenizer, "model": model, "student": model}
    names |= {"task_data": tb.load_task("sst2", "glue")}
    with contextlib.redirect_stdout(output):
        for number, block in enumerate(blocks):
            exec(compile(block, f"{name}, example {number}", "exec"), names)


def test_an_undocumented_argument_is_found():
    docstring = (
        "Does.\n\nArgs:\n    one, two: numbers.\n    **three: more:\n        four: five.\n\nReturns:\n    six: 7."
    )
    assert documented(docstring) == {"one", "two", "three"}
