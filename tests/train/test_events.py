"""What a run writes for TensorBoard, as TensorBoard reads it."""

import doctest
import io

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.settings import compose
from tinybert_tf.train import attention_images
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def run(glue, make_directory, tmp_path):
    teacher, student = make_directory("teacher"), make_directory("student", num_hidden_layers=2)
    settings = compose(
        DistillSettings, task="sst2", data_dir=str(glue), teacher=str(teacher), student=str(student), seq_len=16,
        train_batch_size=8, intermediate_epochs=2.0, prediction_epochs=1.0, evaluations=2, teacher_dtype="float32",
        intermediate_learning_rate=0.1, prediction_learning_rate=0.1,
        output_dir=str(tmp_path / "run"), allow_weak_teacher=True,
    )  # fmt: skip
    distill_task(settings)
    return tmp_path / "run"


@pytest.mark.slow
def test_tensorboard_reads_measurements_and_attention_maps(run, tmp_path):
    events = EventAccumulator(str(run / "events"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    scalars = {tag: events.Tensors(tag) for tag in events.Tags()["tensors"]}
    for stage, steps in (("intermediate", 10), ("prediction", 5)):
        for name in ("loss", "learning_rate", "gradient_norm", "examples_per_second"):
            values = [float(tf.make_ndarray(each.tensor_proto)) for each in scalars[f"{stage}/train/{name}"]]
            assert len(values) == steps and np.isfinite(values).all()
            assert name == "learning_rate" or min(values) > 0
        maps = {name: scalars[f"{stage}/attention/{name}"] for name in ("teacher", "student")}
        assert [each.step for each in maps["student"]] == [0, *range(steps // 5, steps + 1, steps // 5)]
        pictures = {name: [_picture(each) for each in found] for name, found in maps.items()}
        assert all(np.array_equal(picture, pictures["teacher"][0]) for picture in pictures["teacher"])
        # 4 layers beside 2, with 2 heads each.
        assert pictures["teacher"][0].shape[0] == 2 * pictures["student"][0].shape[0]
    assert not np.array_equal(pictures["student"][0], pictures["student"][-1])


def test_a_map_is_the_square_root_of_a_head_s_probabilities(make_directory):
    folder = make_directory("model")
    features = Tokenizer.from_directory(folder)(["the film was not bad"], seq_len=16)
    logits = load_model(folder)(features, training=False)["attention_logits"]
    maps = [tf.nn.softmax(layer[0]).numpy()[:, :7, :7] for layer in logits]
    image = attention_images.attention_image(maps)[..., 0]
    side = 6 * 7 + 4
    assert image.shape == (4 * side, 2 * side)
    np.testing.assert_allclose(image[3 * side : 3 * side + 42 : 6, side : side + 42 : 6] ** 2, maps[3][1], rtol=1e-5)
    assert (image[:, 42:46] == 1).all()


def test_the_example_runs():
    result = doctest.testmod(attention_images)
    assert result.attempted and not result.failed


def _picture(event) -> np.ndarray:
    """Width, height and then the images stand in an event of images."""
    return matplotlib.image.imread(io.BytesIO(event.tensor_proto.string_val[2]))
