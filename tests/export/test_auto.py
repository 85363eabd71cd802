"""Of the ways to quantize, the one that holds what was asked for is kept."""

import pytest

from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import Limits, TFLiteModel, auto, export_best, file_texts, task_texts
from tinybert_tf.export.auto import exceeds
from tinybert_tf.export.parity import task_comparison


@pytest.fixture(scope="module")
def task_files(model_dir, tmp_path_factory):
    """(model directory, folder of SST-2)."""
    root = tmp_path_factory.mktemp("auto")
    model = load_model(model_dir(), label2id={"negative": 0, "positive": 1})
    save_model(model, root / "model", tokenizer_from=model_dir())
    (root / "SST-2").mkdir()
    rows = "".join(f"w{number % 60} w{3 * number % 60}\t{number % 2}\n" for number in range(40))
    for split in ("train", "dev"):
        (root / "SST-2" / f"{split}.tsv").write_text(f"sentence\tlabel\n{rows}")
    return root / "model", root


def test_the_smallest_or_the_most_faithful_is_kept(task_files, tmp_path):
    model, data = task_files
    arguments = {"task": "sst2", "data_dir": data, "seq_len": (4, 8)}
    report, trials = export_best(
        model, tmp_path / "a.tflite", limits=Limits(max_drop=1.0), modes=("dynamic", "int4"), **arguments
    )
    assert [(trial.quantize, trial.chosen) for trial in trials] == [("dynamic", False), ("int4", True)]
    assert report.mb == trials[1].mb < trials[0].mb
    assert report.path == str(tmp_path / "a.tflite") and TFLiteModel(report.path).seq_len == 8

    limits = Limits(max_drop=1.0, max_mb=100)
    report, trials = export_best(model, tmp_path / "b.tflite", limits=limits, modes=("none", "dynamic"), **arguments)
    assert report.quantize == "none", "with room for it nothing is given away"

    limits = Limits(max_drop=-2, max_mb=trials[0].mb - 0.0005)
    report, trials = export_best(model, tmp_path / "c.tflite", limits=limits, modes=("none",), **arguments)
    assert report is None and not (tmp_path / "c.tflite").exists()
    assert trials[0].fails == "max_drop, max_mb"


def test_texts_that_are_given_calibrate_in_place_of_the_tasks(task_files, tmp_path, monkeypatch):
    model, data = task_files
    calibrated, export = [], auto.export_tflite

    def spy(*arguments, calibration_texts, **options):
        calibrated.append(calibration_texts)
        return export(*arguments, calibration_texts=calibration_texts, **options)

    monkeypatch.setattr(auto, "export_tflite", spy)
    arguments = {"limits": Limits(max_drop=1.0), "seq_len": 8, "modes": ("int4",), "calibration_texts": ["w1 film"]}
    export_best(model, tmp_path / "a.tflite", "sst2", data, **arguments)
    assert calibrated == [["w1 film"]]


def test_texts_are_drawn_evenly_and_the_same_each_time(task_files, tmp_path):
    _, data = task_files
    assert len(task_texts("sst2", data)) == 40
    drawn = task_texts("sst2", data, count=10)
    assert drawn == task_texts("sst2", data, count=10)
    assert any(int(text.split()[0][1:]) >= 10 for text in drawn), "not the first ten alone"

    path = tmp_path / "texts.tsv"
    path.write_text("a b\tc\n\nd\te\n")
    assert file_texts(path) == [("a b", "c"), ("d", "e")]
    path.write_text("a\nb\tc\n")
    with pytest.raises(InputError, match="texts.tsv, line 2: 2 columns, the first has 1"):
        file_texts(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no text in it"):
        file_texts(path)
    with pytest.raises(InputError, match="calibration_file=.*no such file"):
        file_texts(tmp_path / "nowhere")


def test_an_output_that_is_no_tflite_file_is_refused_before_anything_is_tried(tmp_path):
    (tmp_path / "folder.tflite").mkdir()
    for name, reason in (("model.bin", "must end in .tflite"), ("folder.tflite", "is a directory")):
        with pytest.raises(InputError, match=reason):
            export_best("nowhere", tmp_path / name, "sst2", modes=("dynamic",))


def test_a_split_without_labels_is_not_compared(task_files):
    model, data = task_files
    (data / "SST-2" / "test.tsv").write_text("index\tsentence\n0\tw1 w2\n")
    with pytest.raises(InputError, match="test.tsv: has no labels to score against"):
        task_comparison(model, "sst2", data, split="test", seq_len=8)


def test_a_drop_of_the_limit_itself_is_within_it():
    assert not exceeds(0.90 - 0.89, 0.01)
    assert exceeds(0.0101, 0.01) and exceeds(float("nan"), 0.01) and exceeds(0.0, -1.0)
