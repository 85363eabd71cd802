"""metrics.jsonl is read strictly and drawn whole."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinybert_tf.errors import InputError
from tinybert_tf.report.curves import can_plot, plot_curves, read_metrics


def record(stage="prediction", step=1, split="train", **values):
    return {"stage": stage, "step": step, "split": split, **values}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    savefig = Figure.savefig

    def spy(self, *arguments, **options):
        figures.append(self)
        savefig(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


def test_records_come_back_as_written(tmp_path):
    records = [record(loss=0.5), record(split="dev", accuracy=0.9)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n\n".join(map(json.dumps, records)) + "\n")
    assert read_metrics(path) == records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"stage": "prediction", "st', "not valid JSON"),
        ("[1, 2]", "holds a list, not an object"),
        ('{"step": 1, "split": "train"}', '"stage" must be a string, found None'),
        ('{"stage": "a", "step": "1", "split": "train"}', "\"step\" must be an integer, found '1'"),
        ('{"stage": "a", "step": 1, "split": "test"}', '"split" must be "train", "dev" or "held_out", found \'test\''),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(record()) + "\n" + line + "\n")
    with pytest.raises(InputError) as caught:
        read_metrics(path)
    assert f"{path}, line 2: " in str(caught.value) and message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_each_stage_has_a_panel_and_the_dev_score_its_own(tmp_path, drawn):
    records = [
        record("intermediate", s, attention_loss=100.0 / s, hidden_loss=1.0, loss=1 + 100.0 / s) for s in (1, 50)
    ]
    records += [record("prediction", s, prediction_loss=0.5 / s, loss=0.5 / s) for s in (1, 2)]
    records += [record("prediction", s, "dev", loss=0.4, accuracy=0.8, examples_per_second=9.0) for s in (1, 2)]
    path = plot_curves(records, tmp_path / "curves.png", title="student")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]

    intermediate, prediction, dev = (axis for axis in drawn[0].axes if axis.axison)
    assert "intermediate" in intermediate.get_title(loc="left") and intermediate.get_yscale() == "log"
    assert {text.get_text().split("  ")[0] for text in intermediate.texts} == {"loss", "attention", "hidden"}
    # A sum of one part is drawn once; the loss on dev stands beside it.
    assert prediction.get_yscale() == "linear"
    assert {text.get_text() for text in prediction.texts} == {"loss  0.25", "dev loss  0.4"}
    assert dev.get_title(loc="left") == "dev: accuracy"
    assert [text.get_text() for text in dev.texts] == ["prediction  0.800"]


def test_losses_on_held_out_text_are_dashed_in_the_colour_of_the_same_in_training(tmp_path, drawn):
    records = [record("general", s, attention_loss=4.0 / s, hidden_loss=1.0 / s, loss=5.0 / s) for s in (1, 2)]
    records += [record("general", s, "held_out", score=0.2, attention_loss=5.0 / s, loss=6.0 / s) for s in (1, 2)]
    plot_curves(records, tmp_path / "curves.png")
    (axis,) = (axis for axis in drawn[0].axes if axis.axison)
    dashed = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[6.0, 3.0], [5.0, 2.5]]
    training = {line.get_color() for line in axis.lines if line.get_linestyle() == "-"}
    assert {line.get_color() for line in dashed} <= training
    assert "held-out attention  2.5" in {text.get_text() for text in axis.texts}


def test_labels_of_lines_that_end_together_do_not_overlap(tmp_path, drawn):
    names = [f"part{i}_loss" for i in range(6)]
    plot_curves([record(step=s, **dict.fromkeys(names, 1.0 / s)) for s in (1, 2)], tmp_path / "curves.png")
    heights = sorted(text.get_position()[1] for text in drawn[0].axes[0].texts)
    assert np.diff(heights).min() > 0.07 and heights[0] > -0.1 and heights[-1] < 1.0


def test_a_diverged_run_is_drawn_and_says_so(tmp_path, drawn):
    values = [1.0, 2.0, float("nan"), float("inf")] + [float("nan")] * 96
    plot_curves([record(step=i, loss=value) for i, value in enumerate(values)], tmp_path / "curves.png")
    assert any("not finite" in text.get_text() for text in drawn[0].axes[0].texts)


def test_numbers_beyond_any_axis_count_as_infinite(tmp_path, drawn):
    values = [1e308, -1e308, 1.0, 2.0]
    records = [record(step=i, loss=value) for i, value in enumerate(values)]
    records += [record(step=i, split="dev", score=value) for i, value in enumerate(values)]
    plot_curves(records, tmp_path / "curves.png")
    assert any("not finite" in text.get_text() for text in drawn[0].axes[0].texts)


@pytest.mark.parametrize(
    "records", [[], [record(examples_per_second=3.0)], [record(step=0, split="held_out", loss=2.0)]]
)
def test_nothing_to_draw_is_an_error(tmp_path, records):
    assert not can_plot(records)
    with pytest.raises(InputError, match="nothing to draw"):
        plot_curves(records, tmp_path / "curves.png")
