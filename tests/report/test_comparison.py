import numpy as np
import pytest
from matplotlib.figure import Figure

from tinybert_tf.report.comparison import plot_comparison


@pytest.fixture
def panels(monkeypatch):
    """Title -> the lines, [(steps), (values)], of each panel that was saved."""
    shown, savefig = {}, Figure.savefig

    def spy(figure, *arguments, **options):
        for axis in figure.axes:
            if axis.axison:
                shown[axis.get_title(loc="left")] = [(*line.get_data(),) for line in axis.lines]
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return shown


def training(stage, split, *losses, **more):
    return [
        {"stage": stage, "split": split, "step": 10 * n, "loss": loss, **{k: v[n] for k, v in more.items()}}
        for n, loss in enumerate(losses)
    ]


def test_a_panel_has_a_line_for_each_training_that_was_measured_there(tmp_path, panels):
    trainings = {
        "random": training("general", "held_out", 9.0, 5.0, hidden_loss=(2.0, 1.0))
        + training("general", "train", 7, 6),
        "projection": training("general", "held_out", 2.0, 1.0, hidden_loss=(0.5, 0.25)),
        "other": training("prediction", "dev", 0.5, 0.25, accuracy=(0.7, 0.8)),
    }
    plot_comparison(trainings, tmp_path / "a.png")
    assert list(panels) == ["general: held-out loss", "general: held-out hidden loss"]
    np.testing.assert_array_equal(panels["general: held-out loss"], [[(0, 10), (9.0, 5.0)], [(0, 10), (2.0, 1.0)]])


def test_dev_is_compared_by_its_score(tmp_path, panels):
    trainings = {name: training("prediction", "dev", 1, 2, matthews=(0.1, 0.2), accuracy=(0.6, 0.7)) for name in "ab"}
    plot_comparison(trainings, tmp_path / "a.png")
    assert list(panels) == ["prediction: dev matthews"]


def test_trainings_with_nothing_in_common_make_no_picture(tmp_path, panels):
    trainings = {"a": training("general", "held_out", 1, 2), "b": training("finetune", "held_out", 1, 2)}
    assert plot_comparison(trainings, tmp_path / "a.png") is None and not panels
