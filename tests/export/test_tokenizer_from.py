"""What the vocabulary of a file may be given as."""

import pytest

from tinybert_tf.checkpoints import load_model
from tinybert_tf.data import Tokenizer
from tinybert_tf.errors import InputError
from tinybert_tf.export import export_tflite


def test_a_directory_a_tokenizer_and_its_spec_give_the_same_file(model_dir, tmp_path):
    model, tokenizer = load_model(model_dir()), Tokenizer.from_directory(model_dir())
    contents = set()
    for source in (model_dir(), str(model_dir()), tokenizer, tokenizer.spec):
        export_tflite(model, tmp_path / "model.tflite", seq_len=12, tokenizer_from=source)
        contents.add((tmp_path / "model.tflite").read_bytes())
    assert len(contents) == 1


def test_something_else_is_refused_by_name(model_dir, tmp_path):
    model = load_model(model_dir())
    with pytest.raises(InputError, match="tokenizer_from is a list; give a directory, a Tokenizer or its `spec`"):
        export_tflite(model, tmp_path / "model.tflite", seq_len=12, tokenizer_from=["[PAD]", "[UNK]"])
    with pytest.raises(InputError, match="no vocabulary: give `tokenizer_from=DIRECTORY`, .* or a Tokenizer"):
        export_tflite(model, tmp_path / "model.tflite", seq_len=12)
