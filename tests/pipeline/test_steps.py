from pathlib import Path

import pytest

from tinybert_tf.distribution import DeviceSettings
from tinybert_tf.errors import InputError
from tinybert_tf.pipeline import steps
from tinybert_tf.pipeline.quickstart import QuickstartSettings, quickstart
from tinybert_tf.pipeline.run_task import RunTaskSettings, run_task
from tinybert_tf.pipeline.steps import Steps
from tinybert_tf.settings import compose
from tinybert_tf.train.distill_settings import DistillSettings


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source.txt").write_text("one")
    return tmp_path / "source.txt"


def run(tmp_path, source, settings=1, calls=None, fail=False):
    """One step that copies its source and counts how often it did; returns its result."""

    def make(output):
        calls.append(output.exists())
        output.mkdir(exist_ok=True)
        (output / "half").write_text("half")
        if fail:
            raise KeyboardInterrupt
        (output / "copy").write_text(source.read_text())
        return {"text": source.read_text()}

    return Steps(tmp_path / "out").run("copy", make, settings, source=source, absent=None)


def test_a_finished_step_is_not_run_again(tmp_path, source, caplog):
    calls = []
    assert run(tmp_path, source, calls=calls) == {"text": "one"}
    assert run(tmp_path, source, calls=calls) == {"text": "one"}
    assert len(calls) == 1
    assert caplog.messages == ["[step 1] copy", "[step 1] copy: already done"]


@pytest.mark.parametrize("change", ["settings", "input", "output"])
def test_a_change_runs_it_again(tmp_path, source, change):
    calls = []
    run(tmp_path, source, calls=calls)
    if change == "input":
        source.write_text("three")
    if change == "output":
        (tmp_path / "out" / "copy" / "copy").unlink()
    result = run(tmp_path, source, settings=2 if change == "settings" else 1, calls=calls)
    assert len(calls) == 2
    assert result == {"text": source.read_text()}


def test_an_interrupted_step_finds_what_it_left(tmp_path, source):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, source, calls=calls, fail=True)
    run(tmp_path, source, calls=calls)
    assert calls == [False, True]


def test_with_other_settings_it_starts_from_nothing(tmp_path, source):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, source, calls=calls, fail=True)
    run(tmp_path, source, settings=2, calls=calls)
    assert calls == [False, False]


@pytest.mark.parametrize("strategy", ["multi_worker", "auto"])
def test_several_workers_are_refused_before_anything_is_written(tmp_path, monkeypatch, strategy):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    common = {"strategy": strategy, "output_dir": str(tmp_path / "run")}
    for program, settings in (
        (quickstart, compose(QuickstartSettings, **common)),
        (run_task, compose(RunTaskSettings, **common, task="sst2", teacher="nowhere")),
    ):
        with pytest.raises(InputError, match=f"strategy={strategy}: a pipeline runs on one machine"):
            program(settings)
    assert not (tmp_path / "run").exists()


def test_devices_are_laid_out_before_the_first_step(monkeypatch):
    asked = []
    monkeypatch.setattr(steps, "make_strategy", lambda *arguments: asked.append(arguments))
    steps.open_devices(DeviceSettings(strategy="mirrored", num_devices=2))
    assert asked == [("mirrored", 2)]


def program_steps(tmp_path, calls, **changes):
    def program(settings):
        calls.append(settings)
        Path(settings.run.output_dir).mkdir(parents=True)
        return {"score": 1.0}

    settings = compose(DistillSettings, task="sst2", data_dir="glue", teacher="t", **changes)
    return Steps(tmp_path / "out").run_program("trained", program, settings)


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ({"padding": "exclude"}, {"padding": "exclude"}, 1),
        ({"save_every_seconds": 1.0}, {"save_every_seconds": 2.0, "cache_dir": "elsewhere"}, 1),
        ({"padding": "exclude"}, {"padding": "reference"}, 2),
    ],
)
def test_a_program_is_run_again_for_settings_that_matter(tmp_path, first, second, runs):
    calls = []
    program_steps(tmp_path, calls, **first)
    program_steps(tmp_path, calls, **second)
    assert len(calls) == runs


def test_a_record_without_the_files_of_all_steps_counts_as_made_from_the_present_ones(tmp_path, source):
    make = lambda output: output.write_text("done")
    Steps(tmp_path / "out").run("made", make, 1)
    before = (tmp_path / "out" / "made").stat().st_mtime_ns
    Steps(tmp_path / "out", {"data": source}).run("made", make, 1, {"setting": 0})
    assert (tmp_path / "out" / "made").stat().st_mtime_ns == before
    source.write_text("changed")
    calls = []
    Steps(tmp_path / "out", {"data": source}).run("made", lambda output: calls.append(output), 1, {"setting": 0})
    assert len(calls) == 1


def test_what_no_step_made_is_left_alone(tmp_path, source):
    (tmp_path / "out" / "copy").mkdir(parents=True)
    (tmp_path / "out" / "copy" / "mine.txt").write_text("mine")
    with pytest.raises(
        InputError, match="copy: exists, and no step made it; move it away, or give another `output_dir`"
    ):
        run(tmp_path, source, calls=[])
    assert (tmp_path / "out" / "copy" / "mine.txt").read_text() == "mine"


def test_an_output_inside_of_an_input_is_no_part_of_it(tmp_path):
    """As with `--data_dir=. --output_dir=run`."""
    made = []

    def make(output):
        made.append(output)
        output.mkdir()
        (output / "copy").write_text("made")
        return 1

    (tmp_path / "train.tsv").write_text("rows")
    for _ in range(2):
        Steps(tmp_path / "run").run("copy", make, 1, data=tmp_path)
    assert len(made) == 1
    (tmp_path / "train.tsv").write_text("other rows")
    Steps(tmp_path / "run").run("copy", make, 1, data=tmp_path)
    assert len(made) == 2
