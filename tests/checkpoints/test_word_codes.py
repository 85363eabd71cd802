"""A word table of whole rows and codes, beside the weights."""

import copy

import keras
import numpy as np
import pytest
import safetensors.numpy

from tinybert_tf.bert import logits_model
from tinybert_tf.checkpoints import load_model, save_model
from tinybert_tf.checkpoints.word_codes import FILE_NAME, WordCodes, codes_of, restore_codes, use_codes
from tinybert_tf.errors import InputError


@pytest.fixture
def codes():
    """Codes of a table [50, 24]: 20 whole rows, 30 of 8 groups of 3."""
    random, order = np.random.default_rng(0), np.random.default_rng(1).permutation(50)
    places = np.empty(50, np.int32)
    places[order] = np.concatenate([np.arange(1, 21), -np.arange(1, 31)])
    rows = random.integers(-7, 8, (21, 24)).astype(np.int8)
    codes = random.integers(1, 256, (31, 8)).astype(np.uint8)
    vectors = random.integers(-127, 128, (8, 256, 3)).astype(np.int8)
    rows[0], codes[0], vectors[:, 0] = 0, 0, 0
    scales = random.uniform(0.01, 0.1, (2, 24)).astype(np.float32)
    return WordCodes(places, rows, scales[0], codes, vectors, scales[1] / 20)


@pytest.fixture
def coded(network, codes):
    model = network()
    use_codes(model, codes)
    return model


def test_the_table_is_what_rows_and_codes_stand_for(codes):
    table = codes.table()
    for word, place in enumerate(codes.places):
        if place > 0:
            expected = [codes.rows[place, d] * codes.row_scales[d] for d in range(24)]
        else:
            of_word = codes.codes[-place]
            expected = [codes.codebooks[d // 3, of_word[d // 3], d % 3] * codes.codebook_scales[d] for d in range(24)]
        np.testing.assert_allclose(table[word], expected, rtol=1e-6)


def test_a_directory_keeps_the_codes_and_loading_freezes_the_table(
    coded, codes, vocabulary, features, difference, tmp_path
):
    save_model(coded, tmp_path / "model", tokenizer_from=vocabulary)
    again = load_model(tmp_path / "model")
    assert difference(coded, again) < 1e-6
    for name, array in vars(codes).items():
        np.testing.assert_array_equal(getattr(again.word_codes, name), array)
    paths = {weight.path for weight in again.trainable_weights}
    assert len(paths) == len(again.weights) - 1 and "embeddings/word_embeddings/embeddings" not in paths


def test_keras_keeps_the_codes_in_its_files_and_copies(coded, codes, tmp_path):
    coded.save(tmp_path / "network.keras")
    logits_model(coded).save(tmp_path / "logits.keras")
    network, logits = (keras.models.load_model(tmp_path / f"{name}.keras") for name in ("network", "logits"))
    for again in (network, logits.network, copy.deepcopy(coded)):
        assert codes_of(again) is again.word_codes and not again.embeddings.word_embeddings.trainable
        for name, array in vars(codes).items():
            np.testing.assert_array_equal(getattr(again.word_codes, name), array, strict=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_a_teacher_in_bfloat16_keeps_its_codes(coded, codes, vocabulary, tmp_path, dtype, caplog):
    """Its table is rounded once more, and is still that of the codes."""
    save_model(coded, tmp_path / "model", tokenizer_from=vocabulary)
    loaded = load_model(tmp_path / "model", dtype=dtype)
    assert codes_of(loaded) is loaded.word_codes is not None
    np.testing.assert_allclose(
        np.asarray(loaded.embeddings.word_embeddings.embeddings, np.float32), codes.table(), rtol=0.01
    )
    assert caplog.text == ""


def test_a_directory_without_codes_has_none(network, vocabulary, tmp_path):
    save_model(network(), tmp_path / "model", tokenizer_from=vocabulary)
    assert not (tmp_path / "model" / FILE_NAME).exists() and load_model(tmp_path / "model").word_codes is None


def test_codes_of_a_changed_table_are_left_out_with_a_warning(coded, vocabulary, tmp_path, caplog):
    coded.embeddings.word_embeddings.embeddings.assign_add(np.ones((50, 24)))
    save_model(coded, tmp_path / "model", tokenizer_from=vocabulary)
    assert not (tmp_path / "model" / FILE_NAME).exists()
    assert "the word table is no longer that of its codes" in caplog.text


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("rows", lambda x: x[:3], r"places has a row 20 of rows, but these end at 2; fetch the file again, or code"),
        ("codes", lambda x: x[:30], r"places has a row 30 of codes, but these end at 29"),
        ("places", lambda x: np.where(x == 3, np.int32(-(2**31)), x), r"places has a row 2147483648 of codes, but"),
        ("rows", lambda x: x[0], r"rows \[24\] and codebooks \[8, 256, 3\], which must be \[rows, width\] and"),
        ("rows", lambda x: x[:, :23], r"rows \[21, 23\] and codebooks"),
        ("rows", lambda x: x.astype(np.int16), r"rows is int16 \[21, 24\], not int8 \[21, 24\]"),
        ("rows", lambda x: x * 9, r"rows has numbers beyond 7, which four bits do not hold"),
        ("codes", lambda x: x[:, :7], r"codes is uint8 \[31, 7\], not uint8 \[31, 8\]"),
        ("codes", lambda x: x.astype(np.int8), r"codes is int8 \[31, 8\], not uint8"),
        ("codebooks", lambda x: x[:, :200], r"codebooks is int8 \[8, 200, 3\], not int8 \[8, 256, 3\]"),
        ("row_scales", lambda x: x[:1], r"row_scales is float32 \[1\], not float32 \[24\]"),
        ("places", lambda x: x[0], r"places is int32 \[\], not int32"),
        ("places", lambda x: x.astype(np.float32), r"places is float32 \[50\], not int32 \[50\]"),
        ("codebooks", lambda x: x[:0], r"rows \[21, 24\] and codebooks \[0, 256, 3\]"),
    ],
)
def test_damaged_codes_are_named_with_both_sides(network, codes, tmp_path, name, change, said):
    path = tmp_path / FILE_NAME
    damaged = vars(codes) | {name: np.asarray(change(getattr(codes, name)))}
    with pytest.raises(InputError, match=f"word_codes.safetensors: {said}"):
        restore_codes(network(), damaged, path)


def test_codes_that_do_not_belong_to_the_weights_are_refused(coded, codes, vocabulary, tmp_path):
    save_model(coded, tmp_path / "model", tokenizer_from=vocabulary)
    path = tmp_path / "model" / FILE_NAME
    safetensors.numpy.save_file(vars(codes) | {"rows": -codes.rows}, path)
    with pytest.raises(InputError, match=r"word_codes.safetensors: codes of another word table"):
        load_model(tmp_path / "model")
    safetensors.numpy.save_file({"rows": codes.rows}, path)
    with pytest.raises(
        InputError, match=r"word_codes.safetensors: holds rows instead of codebook_scales, codebooks, codes"
    ):
        load_model(tmp_path / "model")
    path.write_bytes(b"half a file")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(tmp_path / "model")
