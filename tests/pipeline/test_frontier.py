"""Several sizes of one teacher in one call, and nothing done twice."""

import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.pipeline.frontier import FrontierSettings, frontier
from tinybert_tf.settings import build, replace


@pytest.fixture
def settings(glue, make_directory, tmp_path):
    teacher = make_directory("teacher", "classification", label2id={"negative": 0, "positive": 1}, num_hidden_layers=3)
    values = {
        "task": "sst2", "data_dir": str(glue), "teacher": str(teacher), "output_dir": str(tmp_path / "out"), "seq_len": 16,
        "layers": "1", "widths": "17", "vocab_sizes": "0", "quantize": "int8,int4", "minutes": 0.001, "train_batch_size": 8,
    }  # fmt: skip
    return build(FrontierSettings, values | {"allow_weak_teacher": True})


@pytest.mark.slow
def test_every_size_is_distilled_exported_and_measured_once(settings, tmp_path, caplog):
    result = frontier(settings)
    assert [row["model"] for row in result["rows"]] == [
        "1x16_all int8", "1x16_all int4",
    ]  # fmt: skip
    for row in result["rows"]:
        assert {"score", "retention", "mb", "ms"} <= row.keys() and row["ms"] > 0 and row["mb"] > 0
    assert result["score"] == max(row["score"] for row in result["rows"])
    assert set(result["keeps"]) == {"96.8%", "99.0%"}
    assert (tmp_path / "out" / "frontier.md").is_file() and (tmp_path / "out" / "frontier.png").is_file()
    caplog.clear()
    assert frontier(settings) == result
    said = [line for line in caplog.messages if line.startswith("[step")]
    assert said and all(line.endswith("already done") for line in said)


@pytest.mark.slow
def test_files_are_trained_through_their_own_rounding(settings, tmp_path):
    result = frontier(replace(settings, quantize="none,int4", quantize_aware=True))
    assert [row["model"] for row in result["rows"]] == ["1x16_all none", "1x16_all int4"]
    grid = {path.parent.parent.name for path in (tmp_path / "out").glob("*/model/quantization.json")}
    assert grid == {"1x16_all_int4"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": "2,7"}, "layers=7: the teacher has 3"),
        ({"quantize": "int3"}, "quantize=int3: must be of"),
        ({"vocab_sizes": "six"}, "vocab_sizes=six: must be integers"),
        ({"minutes": 0.0}, "minutes=0.0: must be above 0"),
        ({"vocab_sizes": "7"}, "vocab_size=7: the special tokens .* alone are"),
    ],
)
def test_bad_input_is_named(settings, changes, said):
    with pytest.raises(InputError, match=said):
        frontier(replace(settings, **changes))


def test_more_words_than_the_teacher_has_are_refused_before_anything_is_distilled(settings):
    with pytest.raises(InputError, match="vocab_sizes=100: the teacher has 14 words"):
        frontier(replace(settings, vocab_sizes="0,100"))
