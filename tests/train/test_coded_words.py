"""A student whose word table is coded learns with all other weights."""

import numpy as np
import pytest

from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.checkpoints.rounding import read_rounding
from tinybert_tf.checkpoints.word_codes import WordCodes, use_codes
from tinybert_tf.distill.rivals import Theseus
from tinybert_tf.errors import InputError
from tinybert_tf.settings import build
from tinybert_tf.train.coded_table import CodedTable
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def coded_dir(make_directory, tmp_path):
    """A student with 5 rows of its own and 6 coded ones."""
    source, random = make_directory("s", num_hidden_layers=2), np.random.default_rng(0)
    model = load_model(source)
    rows = random.integers(-7, 8, (6, 16)).astype(np.int8)
    codes = random.integers(1, 256, (7, 4)).astype(np.uint8)
    vectors = random.integers(-127, 128, (4, 256, 4)).astype(np.int8)
    rows[0], codes[0], vectors[:, 0] = 0, 0, 0
    places = np.concatenate([np.arange(1, 6), -np.arange(1, 7)]).astype(np.int32)
    scales = random.uniform(0.01, 0.02, (2, 16)).astype(np.float32)
    use_codes(model, WordCodes(places, rows, scales[0], codes, vectors, scales[1] / 15))
    save_model(model, tmp_path / "coded", tokenizer_from=source)
    return tmp_path / "coded"


def check(directory, coded_dir, is_table_trained=False):
    """Codes of the same words lie beside the table; unless it is trained it is the same. Other weights have changed."""
    before, after = load_model(coded_dir), load_model(directory)
    for name in ("places", "codes", "row_scales", "codebook_scales"):
        np.testing.assert_array_equal(getattr(after.word_codes, name), getattr(before.word_codes, name))
    for old, new in zip(before.weights, after.weights, strict=True):
        is_kept = old.path == "embeddings/word_embeddings/embeddings" and not is_table_trained
        assert np.array_equal(old, new) == is_kept or "bias" in old.path, old.path


@pytest.mark.parametrize(
    ("quantize_aware", "train_integers"),
    [
        pytest.param(None, True, marks=pytest.mark.slow),
        ("int8", True),
        pytest.param("int8", False, marks=pytest.mark.slow),
    ],
)
def test_distillation_keeps_the_codes_and_trains_the_table_through_its_rounding(
    glue, make_directory, coded_dir, tmp_path, quantize_aware, train_integers
):
    values = {
        "task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "seq_len": 16, "train_batch_size": 8,
        "teacher": str(make_directory("teacher")), "student": str(coded_dir), "intermediate_epochs": 1.0,
        "prediction_epochs": 1.0, "intermediate_learning_rate": 1e-3, "prediction_learning_rate": 1e-2, "evaluations": 1,
        "allow_weak_teacher": True, "teacher_dtype": "float32", "quantize_aware": quantize_aware,
        "train_integers": train_integers, "stage": "both" if train_integers else "prediction",
    }  # fmt: skip
    result = distill_task(build(DistillSettings, values))
    is_table_trained = quantize_aware is not None and train_integers
    for directory in (result["model"], tmp_path / "run" / "last"):
        if train_integers:
            check(directory, coded_dir, is_table_trained)
        else:
            np.testing.assert_array_equal(
                load_model(directory).word_codes.table(), load_model(coded_dir).word_codes.table()
            )
    rounding = read_rounding(result["model"])
    assert (rounding and rounding.mode) == quantize_aware


def test_a_table_is_rounded_to_its_codes(coded_dir):
    model = load_model(coded_dir)
    codes, table = model.word_codes, CodedTable(model)
    before = codes.table()
    np.testing.assert_array_equal(table.rounded(), before)

    ids = np.array([[5, 5, 5, 6]])  # of the two words, the first counts four times, the second twice
    table.count([{"input_word_ids": ids, "input_mask": np.ones_like(ids)}])
    moved = before.copy()
    moved[0, 0] += 0.6 * codes.row_scales[0]  # a whole row's weight
    steps = 16 * codes.codebook_scales
    moved[5, :4] += steps[:4] * (-1) ** (codes.codebooks[0, codes.codes[1, 0]] > 0)  # a coded row's first group
    shared = [n for n in range(6) if codes.codes[n + 1, 0] == codes.codes[1, 0]]
    table.variable.assign(moved)
    after = table.rounded().numpy()
    assert after[0, 0] - before[0, 0] == pytest.approx(codes.row_scales[0] * (before[0, 0] < 6.5 * codes.row_scales[0]))
    np.testing.assert_allclose(after[5, :4], moved[5, :4] if shared == [0] else after[5, :4], rtol=1e-5)
    np.testing.assert_array_equal(after[1:5], before[1:5])

    table.keep()
    np.testing.assert_array_equal(model.word_codes.table(), after)
    np.testing.assert_array_equal(model.embeddings.word_embeddings.embeddings, after)


def test_rows_with_one_vector_move_it_by_how_often_they_occur(coded_dir):
    model = load_model(coded_dir)
    codes = model.word_codes
    codes.codes[1:3, 0] = 9  # the words 5 and 6 share their first group
    use_codes(model, codes)
    table, before = CodedTable(model), codes.table()
    ids = np.array([[5, 5, 6, 0]])  # with one for every word: 3 and 2
    table.count([{"input_word_ids": ids, "input_mask": np.ones_like(ids)}])
    moved = before.copy()
    toward_zero = -np.sign(codes.codebooks[0, 9]).astype(np.float32)
    moved[5, :4] += toward_zero * 25 * codes.codebook_scales[:4]
    table.variable.assign(moved)
    expected = before[5, :4] + toward_zero * 15 * codes.codebook_scales[:4]
    np.testing.assert_allclose(table.rounded()[5, :4], expected, rtol=1e-4, atol=1e-7)


def test_theseus_refuses_a_coded_student(make_directory, coded_dir):
    with pytest.raises(InputError, match="the student's word table is coded"):
        Theseus(load_model(make_directory("teacher")), load_model(coded_dir), replacing_steps=1)


@pytest.mark.slow
def test_a_coded_teacher_teaches_in_bfloat16(glue, coded_dir, tmp_path):
    values = {
        "task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "seq_len": 16, "train_batch_size": 8,
        "teacher": str(coded_dir), "student": "1x8x2x16", "max_steps": 2, "evaluations": 1, "allow_weak_teacher": True,
        "teacher_dtype": "bfloat16",
    }  # fmt: skip
    assert load_model(distill_task(build(DistillSettings, values))["model"]).word_codes is None


@pytest.mark.slow
def test_fine_tuning_keeps_the_table_and_its_codes(glue, coded_dir, tmp_path):
    values = {
        "task": "sst2", "data_dir": str(glue), "output_dir": str(tmp_path / "run"), "seq_len": 16, "train_batch_size": 8,
        "model": str(coded_dir), "epochs": 1.0, "learning_rate": 1e-3, "evaluations": 1,
    }  # fmt: skip
    check(finetune(build(FinetuneSettings, values))["model"], coded_dir)
