"""What the runtimes read from a file is what went into it."""

import re
import zipfile

import numpy as np
import pytest

from tinybert_tf.errors import InputError
from tinybert_tf.export import export_tflite, read_metadata
from tinybert_tf.export.writer import flatbuffer, metadata


@pytest.fixture
def words(model_dir):
    return tuple((model_dir() / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1])


@pytest.mark.parametrize(
    ("head", "outputs", "labels", "task_api"),
    [
        ("classification", ("probability",), ("bad", "good", "so so"), "TextClassifier and .*BertNLClassifier take it"),
        ("token_classification", ("probability",), ("bad", "good", "so so"), "no task API"),
        ("regression", ("probability",), None, "the value is the score of the only category"),
        ("span", ("end_logits", "start_logits"), None, "BertQuestionAnswerer takes it, with 384 tokens"),
    ],
)
def test_metadata_reads_back_as_it_was_written(head, outputs, labels, task_api, exported, words):
    found = read_metadata(exported(head).path)
    assert found.inputs == ("ids", "mask", "segment_ids")
    assert found.outputs == outputs
    assert found.vocabulary == words
    assert found.labels == labels
    assert found.head == head
    assert found.name and re.search(task_api, found.description)
    assert found.description.endswith(f"{exported(head).task_api}.")


def test_a_regression_file_satisfies_the_task_library(exported):
    """It ends the process unless an output is called `probability`, and wants a label for each value."""
    with zipfile.ZipFile(exported("regression").path) as archive:
        assert archive.read("labels.txt") == b"score\n"
    assert read_metadata(exported("regression").path).labels is None, "it has no classes"


def test_a_file_of_several_lengths_says_that_no_task_api_takes_it(model_dir, tmp_path, caplog):
    with caplog.at_level("INFO"):
        report = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=(4, 8))
    assert report.task_api.startswith("no task API takes a file of several lengths")
    assert report.task_api in caplog.text, "programs print it"


def test_labels_stand_in_the_order_of_their_ids(model_dir, tmp_path):
    from tinybert_tf.checkpoints import load_model

    model = load_model(model_dir(), label2id={"so so": 1, "bad": 2, "good": 0})
    report = export_tflite(model, tmp_path / "a.tflite", seq_len=4, tokenizer_from=model_dir())
    assert read_metadata(report.path).labels == ("good", "so so", "bad")


def test_files_lie_in_the_model_uncompressed(exported, model_dir):
    # MediaPipe maps them as they lie and refuses a compressed archive.
    with zipfile.ZipFile(exported().path) as archive:
        assert {entry.filename: entry.compress_type for entry in archive.infolist()} == {
            "vocab.txt": zipfile.ZIP_STORED,
            "labels.txt": zipfile.ZIP_STORED,
        }
        assert archive.read("vocab.txt") == (model_dir() / "vocab.txt").read_bytes()


def test_entries_of_the_metadata(exported):
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported().path))
    names = {entry.name for entry in model.metadata}
    assert names == {b"TFLITE_METADATA", b"min_runtime_version", b"tinybert_tf", b"tinybert_tf_sha256"}


def test_mediapipes_own_reader_agrees(exported, words):
    """The generated code of the schema's authors reads what is written here by slot number."""
    official = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported().path))
    entry = next(entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    content = bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8))
    assert official.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    root = official.ModelMetadataT.InitFromPackedBuf(content)
    subgraph = root.subgraphMetadata[0]
    assert [tensor.name for tensor in subgraph.inputTensorMetadata] == [b"ids", b"mask", b"segment_ids"]
    assert [tensor.name for tensor in subgraph.outputTensorMetadata] == [b"probability"]
    tokenizer = subgraph.inputProcessUnits[0]
    assert tokenizer.optionsType == official.ProcessUnitOptions.BertTokenizerOptions
    vocabulary = tokenizer.options.vocabFile[0]
    assert (vocabulary.name, vocabulary.type) == (b"vocab.txt", official.AssociatedFileType.VOCABULARY)
    labels = subgraph.outputTensorMetadata[0].associatedFiles[0]
    assert (labels.name, labels.type) == (b"labels.txt", official.AssociatedFileType.TENSOR_AXIS_LABELS)
    content_type = subgraph.inputTensorMetadata[0].content.contentPropertiesType
    assert content_type == official.ContentProperties.FeatureProperties
    assert root.minParserVersion == b"1.1.0"


@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic", "int8", "int4_embeddings", "int4"])
def test_mediapipe_classifies_with_the_file_as_it_is(quantize, exported, model_dir):
    text = pytest.importorskip("mediapipe.tasks.python.text")
    from tinybert_tf.data import Tokenizer
    from tinybert_tf.export import TFLiteModel

    sentences = ["w1 w2 film", "Film w7, w3!", "w9", "w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4 w4"]
    path = exported(quantize=quantize).path
    ours = TFLiteModel(path).predict(Tokenizer.from_directory(model_dir())(sentences, seq_len=12))
    with text.TextClassifier.create_from_model_path(path) as classifier:
        for sentence, expected in zip(sentences, ours, strict=True):
            categories = classifier.classify(sentence).classifications[0].categories
            scores = {category.category_name: category.score for category in categories}
            np.testing.assert_allclose([scores[label] for label in ("bad", "good", "so so")], expected, atol=1e-5)


def test_a_file_without_metadata_is_named(exported, tmp_path):
    model = flatbuffer.unpack(flatbuffer.read_tflite(exported().path))
    model.metadata = None
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(flatbuffer.pack(model))
    with pytest.raises(InputError, match=r"bare.tflite: has no TFLITE_METADATA"):
        read_metadata(bare)


def test_damaged_metadata_is_named(exported, tmp_path):
    content = flatbuffer.read_tflite(exported().path)
    for number, broken in enumerate((content.replace(b"M001", b"M999"), content[: -len(content) // 3])):
        path = tmp_path / f"broken{number}.tflite"
        path.write_bytes(broken)
        with pytest.raises(InputError, match=rf"broken{number}.tflite: .*export it again"):
            read_metadata(path)


@pytest.mark.parametrize("label", ["two\nlines", " "])
def test_a_label_that_fills_no_line_is_refused(label):
    with pytest.raises(InputError, match="one label a line"):
        metadata.with_files(b"", ["w"], ["good", label])
