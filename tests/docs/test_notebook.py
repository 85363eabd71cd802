"""The notebook of the documentation runs from top to bottom.

Its cells are plain Python, so they run without Jupyter: no kernel, no further package.
"""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
# What stands in the cell with the tag "parameters", reduced.
REDUCED = {"TEACHER": "TEACHER", "ROWS": 64}


def code_cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.docs
def test_the_notebook_runs(sandbox, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace: dict = {}
    for number, cell in enumerate(code_cells()):
        exec(compile("".join(cell["source"]), f"notebook.ipynb, code cell {number}", "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            assert REDUCED.keys() <= namespace.keys()
            namespace.update(REDUCED)
    assert list(namespace["scores"]) == [
        "teacher", "student, made from it", "student, after the layers", "student, after the predictions",
    ]  # fmt: skip
    assert all(0 <= score <= 1 for score in namespace["scores"].values())
    assert Path("tinybert.tflite").stat().st_size > 1_000_000
    last = capsys.readouterr().out.splitlines()[-2:]
    assert all(line.split()[0] in ("positive", "negative") for line in last)


def test_it_is_stored_without_outputs_and_is_the_format_that_jupyter_reads():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code_cells()) == 1
    for cell in code_cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None
