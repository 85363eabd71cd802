"""Inputs that once ended in something else than one clear line."""

import json
import re
import struct

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests.hostile import tflite_readers
from tests.hostile.limits import is_accepted
from tests.hostile.text_readers import VOCABULARY, WORDS, id_bytes, manifest_of, records_file
from tests.hostile.weight_readers import CONFIG, READERS, model_directory
from tinybert_tf.augmentation.word_vectors import WordVectors
from tinybert_tf.checkpoints import load_model, read_config, read_projections
from tinybert_tf.corpus import read_corpus
from tinybert_tf.data import Tokenizer, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.errors import InputError
from tinybert_tf.export import TFLiteClassifier, TFLiteModel
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.files import read_json
from tinybert_tf.report.curves import read_metrics
from tinybert_tf.report.report import report_runs


def refused(read, message):
    """`read` ends in an InputError with `message`, within the limits of `is_accepted`."""
    assert not is_accepted(read)
    with pytest.raises(InputError, match=re.escape(message)):
        read()


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, '{"a": ' * 50_000])
def test_json_too_deep_or_with_a_number_too_long(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    refused(lambda: read_json(path), "not valid JSON")
    refused(lambda: read_json(tmp_path), "cannot be read (Is a directory)")
    path.write_text(f'{{"a": {content}\n', encoding="utf-8")
    refused(lambda: read_metrics(path), "line 1: not valid JSON")


def test_a_label_of_five_thousand_digits(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f"text,label\na,{'9' * 5000}\nb,1\n")
    data = load_task("custom", files=CustomFiles(train_file=str(path), text_column="text", label_column="label"))
    assert data.task.labels == ("1", "9" * 5000)


def test_half_of_a_character_in_squad(tmp_path):
    question = {"id": "q", "question": "wh\ud800t?", "answers": [{"text": "film", "answer_start": 0}]}
    document = {"data": [{"paragraphs": [{"context": "film", "qas": [question]}]}]}
    (tmp_path / "train-v1.1.json").write_text(json.dumps(document))
    refused(lambda: list(load_task("squad1", tmp_path).train), '"question" holds half of a character')


def test_a_vocabulary_without_words(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS[:5]))
    refused(lambda: Tokenizer(path), "vocab.txt: TensorFlow Text cannot use this vocabulary (No valid vocab tokens")
    path.write_bytes(VOCABULARY)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    refused(lambda: Tokenizer.from_directory(tmp_path), "tokenizer_config.json: holds a list, not an object")


@pytest.mark.parametrize("header", ["3 99999999999999999999999", "9" * 5000 + " 3", "the " + "1" * 5000])
def test_word_vectors_with_a_hopeless_first_line(header, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(f"{header}\nthe 1 2 3\n")
    refused(lambda: WordVectors.read(path), "vectors.txt, line 1: ")


@pytest.mark.parametrize("name", ["\ud800", "$a_$", "x" * 10_000, "</script>", "\x00"])
def test_a_report_of_strange_names(name, tmp_path):
    records = [{"stage": name, "step": 1, "split": split, "loss": 1.0, name: 0.5} for split in ("train", "dev")]
    (tmp_path / "run.json").write_text(json.dumps({name: name, "settings": {name: name}, "result": {"score": 0.5}}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert is_accepted(lambda: report_runs([tmp_path], tmp_path / "report"))
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1" + "0" * 400])
def test_a_report_of_a_number_that_is_none(value, tmp_path):
    (tmp_path / "run.json").write_text(f'{{"settings": {{}}, "result": {{"score": 0.5, "parameters": {value}}}}}')
    message = f'{tmp_path}/run.json: "parameters" of the result is no number'
    refused(lambda: report_runs([tmp_path], tmp_path / "report"), message)


# === Configurations ===


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_labels": 10**12, "label2id": None, "id2label": None}, "num_labels=1000000000000"),
        ({"num_labels": "2", "label2id": None, "id2label": None}, "num_labels='2'"),
        ({"label2id": {"bad": 0.0, "good": 1.0}}, "ids must be 0 to 1"),
        ({"hidden_dropout_prob": "0.1"}, "hidden_dropout_prob='0.1': must be a number from 0 to below 1"),
        ({"layer_norm_eps": -1}, "layer_norm_eps=-1"),
        ({"pad_token_id": 10**6}, "pad_token_id=1000000"),
        ({"hidden_size": True}, "hidden_size=True"),
    ],
)
def test_a_configuration_of_no_network(change, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    refused(lambda: read_config(tmp_path), message)


@pytest.mark.parametrize("architectures", [{"a": 1}, 7, [["BertModel"]], [], "BertModel", [None]])
def test_architectures_of_another_form_say_nothing(architectures, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"architectures": architectures}))
    assert read_config(tmp_path)[1] == "encoder"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 10**9}, "bert.encoder.layer.1. is missing; the configuration describes another network"),
        ({"intermediate_size": 10**9}, "correct intermediate_size"),
        ({"hidden_size": 2 * 10**9}, "correct hidden_size"),
        ({"max_position_embeddings": 10**12}, "correct max_position_embeddings"),
    ],
)
def test_sizes_are_compared_before_a_network_is_made(change, message, tmp_path):
    for file in model_directory().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    refused(lambda: load_model(tmp_path), message)


# === Weights ===


@pytest.mark.parametrize("shape", [(3,), ()])
def test_projections_that_are_no_matrices(shape, tmp_path):
    tensors = {"fit_dense.weight": np.ones(shape, np.float32)}
    (tmp_path / "distill.safetensors").write_bytes(safetensors.numpy.save(tensors))
    refused(lambda: read_projections(tmp_path, 2), "do not make a projection")


def test_a_checkpoint_file_in_another_encoding(tmp_path):
    reader = READERS["TensorFlow checkpoint: pointer"]()
    reader.prepare(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfem\x00o\x00")
    refused(lambda: reader.read(tmp_path), "checkpoint: damaged ('utf-8' codec can't decode")


def test_a_safetensors_header_of_many_gigabytes(tmp_path):
    path = tmp_path / "distill.safetensors"
    for length in (2**63, 2**40, 100_000_000):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        refused(lambda: read_projections(tmp_path, 2), "not a whole safetensors file")


# === Corpora ===


@pytest.fixture
def corpus(tmp_path):
    def make(records: bytes):
        (tmp_path / "vocab.txt").write_bytes(VOCABULARY)
        (tmp_path / "train-0.tfrecord.gz").write_bytes(records)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest_of(len(records))))
        return read_corpus(tmp_path)

    return make


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (lambda: records_file(id_bytes(2, 5, 3, 0), id_bytes(2, 6, 3, 0))[:-20], "train-0.tfrecord.gz: damaged"),
        (lambda: records_file(id_bytes(2, 5, 3)), "train-0.tfrecord.gz: damaged"),
        (lambda: records_file(id_bytes(2, 5, 3, 0)), "has 1 examples"),
        (lambda: records_file(id_bytes(2, 5, 3, 0), id_bytes(2, 500, 3, 0)), "ids up to 500"),
        (lambda: b"no gzip", "train-0.tfrecord.gz: damaged"),
    ],
)
def test_damaged_records_are_named_in_the_middle_of_a_run_too(records, message, corpus):
    found = corpus(records())
    refused(lambda: found.read_file(*found.files("train")[0][:2]), message)
    # What a program makes its line of: TensorFlow passes the error on as one of its own.
    with pytest.raises(tf.errors.OpError, match=f"InputError: .*{re.escape(message)}"):
        list(found.batches(batch_size=2))


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", '{"settings": {"max_seq_length": -1}}'])
def test_a_manifest_of_something_else(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    refused(lambda: read_corpus(tmp_path), "make the corpus again")


# === TFLite ===


def test_a_model_that_ends_the_interpreter_ends_another_process(tmp_path):
    """The additions lose their inputs: LiteRT follows a null pointer."""
    model = flatbuffer.unpack(tflite_readers.core())
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, flatbuffer.schema.AddOptionsT):
            operator.inputs = [-1, -1]
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.pack(model))
    refused(lambda: TFLiteModel(path, verify=True), "model.tflite: LiteRT cannot run it (")


def test_labels_for_other_scores(tmp_path):
    content = tflite_readers.exported()[: tflite_readers.files_begin()]
    path = tmp_path / "model.tflite"
    from tinybert_tf.export.writer.metadata import with_files

    path.write_bytes(with_files(content, WORDS, ("bad", "good", "so so")))
    message = "damaged (its SHA-256 has changed since it was written)"
    refused(lambda: TFLiteClassifier(path), message)
    model = flatbuffer.unpack(content)
    model.metadata = [entry for entry in model.metadata if entry.name != b"tinybert_tf_sha256"]
    path.write_bytes(with_files(flatbuffer.pack(model), WORDS, ("bad", "good", "so so")))
    refused(lambda: TFLiteClassifier(path), "returns 2 scores, but has 3 labels")
