"""An exported file answers like its model, in every form that it can have."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.export.conftest import TEXTS
from tinybert_tf.bert import BertConfig, build_model, logits_model
from tinybert_tf.checkpoints import load_model
from tinybert_tf.errors import InputError
from tinybert_tf.export import QUANTIZE_MODES, TFLiteModel, export_tflite
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.quantization import quantized
from tinybert_tf.export.writer.text_input import convert
from tinybert_tf.tokenizer_files import open_vocabulary

# The largest difference of an output that a mode may cause on the small networks here.
TOLERANCES = {"none": 1e-5, "float16": 5e-3, "dynamic": 6e-2, "int8": 0.12}
HEADS = ("classification", "token_classification", "regression", "span")


def keras_outputs(folder, features):
    model = load_model(folder)
    logits = model(features, training=False)["logits"]
    if model.head in ("classification", "token_classification"):
        return {"probability": tf.nn.softmax(logits).numpy()}
    if model.head == "span":
        return {"start_logits": logits[..., 0].numpy(), "end_logits": logits[..., 1].numpy()}
    return {"score": logits.numpy()}


def random_rows(count):
    ids = np.random.randint(5, 65, (count, 12)).astype(np.int32)
    return {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}


@pytest.mark.parametrize("quantize", TOLERANCES)
@pytest.mark.parametrize("head", HEADS)
def test_a_file_answers_like_keras(head, quantize, model_dir, exported, features):
    expected = keras_outputs(model_dir(head), features)
    found = TFLiteModel(exported(head, quantize).path).predict(features)
    found = found if isinstance(found, dict) else {next(iter(expected)): found}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # What is said about padding is never read.
        by_position = head in ("span", "token_classification")
        shown = features["input_mask"] == 1 if by_position else np.ones(value.shape, bool)
        assert value[shown].std() > 0.05, "the network tells its inputs apart"
        np.testing.assert_allclose(found[name][shown], value[shown], atol=TOLERANCES[quantize], rtol=0.05)


def test_padding_does_not_change_an_answer(exported, features):
    model = TFLiteModel(exported().path)
    short = {name: value[2:, :5] for name, value in features.items()}
    np.testing.assert_allclose(model.predict(short), model.predict(features)[2:], atol=1e-6)


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "relu"])
def test_each_activation_is_one_operation(hidden_act, model_dir, tmp_path, features):
    config = load_model(model_dir()).config.replace(hidden_act=hidden_act, num_hidden_layers=1)
    model = build_model(config, "classification")
    report = export_tflite(model, tmp_path / "a.tflite", seq_len=12, tokenizer_from=model_dir())
    assert report.operators.get("GELU", 0) == (hidden_act != "relu")
    expected = tf.nn.softmax(model(features)["logits"])
    np.testing.assert_allclose(TFLiteModel(report.path).predict(features), expected, atol=1e-5)


@pytest.mark.parametrize("quantize", TOLERANCES)
def test_the_matrix_products_take_the_fast_kernels(quantize, exported):
    operators = exported(quantize=quantize).operators
    # A layer: query, key, value, attention output, two of feed-forward; then the pooler and the classifier.
    assert operators["FULLY_CONNECTED"] == 2 * 6 + 2
    assert operators["BATCH_MATMUL"] == 2 * 2
    assert operators["GELU"] == 2
    assert operators["SOFTMAX"] == 2 + 1
    # Each of these would cut the graph that XNNPACK takes over, or need TensorFlow on the phone.
    assert not {"SELECT_V2", "ERF", "POW", "DIV", "EXP"} & operators.keys()
    assert not [name for name in operators if name.startswith("Flex")]


def test_inputs_come_in_the_promised_order_and_type(exported):
    graph = flatbuffer.unpack(flatbuffer.read_tflite(exported().path)).subgraphs[0]
    names = [graph.tensors[index].name.decode() for index in graph.inputs]
    assert [name.split(":")[0].removeprefix("serving_default_") for name in names] == [
        "input_word_ids",
        "input_mask",
        "input_type_ids",
    ]
    assert [list(graph.tensors[index].shape) for index in graph.inputs] == [[1, 12]] * 3
    assert {graph.tensors[index].type for index in graph.inputs} == {flatbuffer.schema.TensorType.INT32}
    assert [graph.tensors[index].type for index in graph.outputs] == [flatbuffer.schema.TensorType.FLOAT32]


def test_a_span_file_is_what_the_task_library_asks_for(model_dir, exported, features):
    """BertQuestionAnswerer goes by names in the metadata, in the order of the tensors: end first."""
    from tinybert_tf.export import read_metadata

    path = exported("span").path
    assert read_metadata(path).outputs == ("end_logits", "start_logits")
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    for entry, name in zip(interpreter.get_input_details(), features, strict=True):
        interpreter.set_tensor(entry["index"], features[name][:1])
    interpreter.invoke()
    end, start = (interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details())
    expected = keras_outputs(model_dir("span"), features)
    np.testing.assert_allclose(end, expected["end_logits"][:1], atol=1e-4)
    np.testing.assert_allclose(start, expected["start_logits"][:1], atol=1e-4)


@pytest.mark.slow
def test_fewer_bits_make_a_smaller_file(exported):
    sizes = [exported(quantize=mode).mb for mode in ("none", "float16", "dynamic", "int4_embeddings", "int4")]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("quantize", ["int4_embeddings", "int4"])
def test_four_bits_keep_what_the_network_means(quantize, model_dir, exported):
    features = random_rows(100)
    ours = keras_outputs(model_dir("regression"), features)["score"].ravel()
    theirs = TFLiteModel(exported("regression", quantize).path).predict(features).ravel()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
    assert np.abs(ours - theirs).max() > 1e-4, "int4 changes the logits"


def versions_of(report, operator):
    """The versions in which a file uses an operator."""
    model = flatbuffer.unpack(flatbuffer.read_tflite(report.path))
    code = getattr(flatbuffer.schema.BuiltinOperator, operator)
    return {entry.version for entry in model.operatorCodes if entry.builtinCode == code}


@pytest.mark.parametrize(
    ("quantize", "versions"), [("dynamic", {1, 9}), ("int8", {1, 10, 12}), ("int4", {1, 12}), ("none", {1, 6})]
)
def test_dynamic_uses_the_products_of_old_runtimes(quantize, versions, exported):
    """Version 12, a scale for each output of integer weights, is unknown before TensorFlow Lite 2.17."""
    assert versions_of(exported(quantize=quantize), "FULLY_CONNECTED") == versions


@pytest.mark.parametrize("head", HEADS)
def test_scales_behind_the_products_change_no_answer(head, model_dir, exported, tmp_path, features, monkeypatch):
    """The form with a scale for each output inside the product is what `dynamic` was before."""
    inside = dataclasses.replace(QUANTIZE_MODES["dynamic"], scales_behind=False)
    monkeypatch.setitem(QUANTIZE_MODES, "dynamic", inside)
    settings = {"seq_len": 12, "quantize": "dynamic", "calibration_texts": TEXTS}
    before = export_tflite(model_dir(head), tmp_path / "a.tflite", **settings)
    assert versions_of(before, "FULLY_CONNECTED") == {1, 12}
    expected = TFLiteModel(before.path).predict(features)
    found = TFLiteModel(exported(head, "dynamic").path).predict(features)
    if not isinstance(found, dict):
        expected, found = {"": expected}, {"": found}
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_float16_tables_are_looked_up_in_16_bit_integers(exported, model_dir):
    """Every runtime looks those up; GATHER on float16 is refused before TensorFlow 2.20."""
    report = exported(quantize="float16")
    (graph,) = flatbuffer.unpack(flatbuffer.read_tflite(report.path)).subgraphs
    types = {tensor.name.decode(): tensor.type for tensor in graph.tensors}
    assert types["embeddings/gather"] == flatbuffer.schema.TensorType.INT16
    assert versions_of(report, "GATHER") == {4}
    words = load_model(model_dir()).get_layer("embeddings").weights[0].numpy()
    integers, scales = quantized(words, 16, axis=1)
    assert np.abs(integers * scales - words).max() < np.abs(words.astype(np.float16) - words).max()


def tensors_of(report):
    """Shape and type of each tensor, by name."""
    (graph,) = flatbuffer.unpack(flatbuffer.read_tflite(report.path)).subgraphs
    return {tensor.name.decode(): (tuple(tensor.shape), tensor.type) for tensor in graph.tensors}


@pytest.mark.parametrize(("head", "layers"), [("classification", 1), ("span", 2)])
def test_static_attention_is_in_integers(head, layers, exported):
    """In all layers but one that computes the first token alone."""
    assert exported(head, quantize="dynamic").static_layers == 0
    report = exported(head, quantize="int8")
    assert report.static_layers == layers
    tensors = tensors_of(report)
    for layer in range(layers):
        for product in ("logits", "context"):
            _, type = tensors[f"layer_{layer}/attention/{product}/batch_matmul"]
            assert type == flatbuffer.schema.TensorType.INT8


def test_keys_and_values_of_the_first_token_have_a_row_a_head(exported):
    for head, rows in (("classification", 4), ("span", 12)):
        tensors = tensors_of(exported(head))
        for part in ("key", "value"):
            shape, _ = tensors[f"layer_1/attention/{part}/fully_connected"]
            assert shape == (rows, 48)


@pytest.mark.parametrize("limit", ["MOST_INPUT_NOISE", "MOST_CONTEXT_NOISE"])
def test_attention_that_stays_in_float_answers_too(limit, model_dir, tmp_path, features, monkeypatch):
    monkeypatch.setattr(f"tinybert_tf.export.writer.calibration.{limit}", 0.0)
    report = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=12, quantize="int8", calibration_texts=TEXTS)
    assert report.static_layers == (limit == "MOST_CONTEXT_NOISE")
    expected = keras_outputs(model_dir(), features)["probability"]
    np.testing.assert_allclose(TFLiteModel(report.path).predict(features), expected, atol=TOLERANCES["int8"])


@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_an_attention_that_does_nothing_still_runs(part, quantize, model_dir, tmp_path, features):
    """Its range is a point, and its weights have no largest."""
    model = load_model(model_dir())
    for variable in model.weights:
        if f"layer_0/attention/{part}" in variable.path:
            variable.assign(tf.zeros_like(variable))
    settings = {"seq_len": 12, "tokenizer_from": model_dir(), "quantize": quantize, "calibration_texts": TEXTS}
    report = export_tflite(model, tmp_path / "a.tflite", **settings)
    expected = tf.nn.softmax(model(features)["logits"])
    np.testing.assert_allclose(TFLiteModel(report.path).predict(features), expected, atol=TOLERANCES[quantize])


def test_a_head_that_does_nothing_beside_small_ones_still_runs(model_dir, tmp_path, features):
    """A channel's scale that were far from its neighbours' would be refused by the kernels."""
    model = load_model(model_dir())
    (kernel,) = (variable for variable in model.weights if "layer_0/attention/value/kernel" in variable.path)
    (bias,) = (variable for variable in model.weights if "layer_0/attention/value/bias" in variable.path)
    small = np.where(np.arange(48) < 12, 0, 1e-3)
    kernel.assign(kernel * small), bias.assign(bias * small)
    settings = {"seq_len": 12, "tokenizer_from": model_dir(), "quantize": "int8", "calibration_texts": TEXTS}
    report = export_tflite(model, tmp_path / "a.tflite", **settings)
    assert report.static_layers == 1
    expected = tf.nn.softmax(model(features)["logits"])
    np.testing.assert_allclose(TFLiteModel(report.path).predict(features), expected, atol=TOLERANCES["int8"])


def test_static_lengths_share_their_ranges(model_dir, exported, tmp_path, features):
    settings = {"seq_len": (6, 12), "quantize": "int8", "calibration_texts": TEXTS}
    report = export_tflite(model_dir(), tmp_path / "a.tflite", **settings)
    found = TFLiteModel(report.path).predict({name: value[2:, :5] for name, value in features.items()})
    expected = TFLiteModel(exported(quantize="int8").path).predict(features)[2:]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_lengths_share_their_weights_and_their_answers(model_dir, exported, tmp_path, features):
    report = export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=(4, 12, 8), quantize="none")
    assert (report.seq_len, report.seq_lens) == (12, (12, 8, 4))
    model = TFLiteModel(report.path)
    assert model.seq_lens == (4, 8, 12)
    np.testing.assert_allclose(model.predict(features), TFLiteModel(exported().path).predict(features), atol=1e-5)
    assert report.mb < 1.5 * exported().mb


def test_a_short_text_runs_in_the_short_form(model_dir, exported, tmp_path, features):
    report = export_tflite(model_dir("span"), tmp_path / "a.tflite", seq_len=(6, 12), quantize="none")
    short = {name: value[2:, :5] for name, value in features.items()}
    found = TFLiteModel(report.path).predict(short)
    expected = TFLiteModel(exported("span").path).predict(short)
    for name, value in found.items():
        assert value.shape == (2, 12)
        np.testing.assert_allclose(value[:, :2], expected[name][:, :2], atol=1e-5)
        assert not value[:, 6:].any()


def test_an_export_is_the_same_twice(model_dir, exported, tmp_path):
    report = export_tflite(model_dir(), tmp_path / "again.tflite", seq_len=12)
    with open(exported().path, "rb") as first, open(report.path, "rb") as second:
        assert first.read() == second.read()


def test_tensor_data_is_aligned_for_the_kernels(exported):
    content = flatbuffer.read_tflite(exported(quantize="dynamic").path)
    model = flatbuffer.schema.Model.GetRootAs(content)
    whole = np.frombuffer(content, np.uint8)
    for index in range(model.BuffersLength()):
        if model.Buffers(index).DataLength():
            data = model.Buffers(index).DataAsNumpy()
            assert (data.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) % 16 == 0


def test_an_operation_that_phones_lack_is_refused_by_name():
    function = tf.function(
        lambda x: tf.raw_ops.Erfinv(x=x, name="odd"), input_signature=[tf.TensorSpec((1, 4), tf.float32, "x")]
    )
    with pytest.raises(InputError, match="runtimes lack: Erfinv odd"):
        convert(function)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_len": 17}, r"seq_len=17.*max_position_embeddings=16"),
        ({"seq_len": 1}, r"seq_len=1.*between 2"),
        ({"quantize": "int2"}, r"quantize=int2: no such mode.*none, float16, dynamic, int8"),
        ({"quantize": "int8"}, r"quantize=int8: .*example texts.*`calibration_file`"),
        ({"seq_len": (8, 4), "text_input": "pair"}, r"seq_len=8,4: must be one length"),
        ({"text_input": "both"}, r"text_input=both: must be single or pair"),
        ({"output": "model.bin"}, r"output=.*model.bin.*\.tflite"),
    ],
)
def test_bad_settings_are_named(changes, message, model_dir, tmp_path):
    settings = {"output": "a.tflite", "seq_len": 12, "quantize": "none"} | changes
    output = tmp_path / settings.pop("output")
    with pytest.raises(InputError, match=message) as caught:
        export_tflite(model_dir(), output, **settings)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_a_task_is_refused(model_dir, tmp_path):
    config = BertConfig(vocab_size=68, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(
        InputError, match="'encoder' has no output for a file: fine-tune it on a task, or give `output_vector`"
    ):
        export_tflite(build_model(config), tmp_path / "a.tflite", tokenizer_from=model_dir())
    with pytest.raises(InputError, match="tokenizer_from"):
        export_tflite(build_model(config, "regression"), tmp_path / "a.tflite")


def test_a_vocabulary_of_another_model_is_refused(model_dir, tmp_path):
    config = BertConfig(vocab_size=500, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(InputError, match=r"vocab.txt: 68 words.*vocab_size=500"):
        export_tflite(build_model(config, "regression"), tmp_path / "a.tflite", tokenizer_from=model_dir())


def test_a_failing_export_leaves_the_old_file(model_dir, tmp_path, monkeypatch):
    output = tmp_path / "a.tflite"
    output.write_bytes(b"the old one")
    monkeypatch.setattr("pathlib.Path.write_bytes", _full_disk)
    with pytest.raises(OSError, match="no space"):
        export_tflite(model_dir(), output, seq_len=12)
    assert output.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [output]


def _full_disk(path, content):
    with open(path, "wb") as file:
        file.write(content[:100])
    raise OSError("no space left")


def test_texts_of_two_kinds_are_refused(model_dir, tmp_path):
    with pytest.raises(InputError, match="calibration_texts mixes single texts and pairs"):
        export_tflite(
            model_dir(), tmp_path / "m.tflite", seq_len=12, quantize="int8", calibration_texts=["the film", ("a", "b")]
        )
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"calibration_texts": "texts.txt"}, "calibration_texts is a str; give a list of texts"),
        ({"calibration_texts": [b"good film"]}, r"calibration_texts=b'good film': \[0\] is neither a text nor a pair"),
        ({"calibration_texts": ["good", ("bad", "film", "too")]}, r"\[1\] is neither a text nor a pair of texts"),
        ({"seq_len": "12"}, "seq_len=12: must be an integer, or several"),
        ({"seq_len": 12.0}, "seq_len=12.0: must be an integer, or several"),
    ],
)
def test_arguments_of_another_type_are_named(model_dir, tmp_path, values, message):
    """A text taken for a list of texts would give the ranges of single letters."""
    with pytest.raises(InputError, match=message):
        export_tflite(model_dir(), tmp_path / "a.tflite", **{"seq_len": 12, "quantize": "dynamic"} | values)


def test_lengths_and_texts_may_be_numpy_s(model_dir, tmp_path):
    settings = {"seq_len": np.int64(12), "quantize": "int8"}
    export_tflite(model_dir(), tmp_path / "a.tflite", calibration_texts=np.array(TEXTS), **settings)
    export_tflite(model_dir(), tmp_path / "b.tflite", calibration_texts=(text for text in TEXTS), **settings)
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()


def test_pairs_in_a_file_with_its_tokenizer_need_three_tokens(model_dir, tmp_path):
    with pytest.raises(InputError, match=r"seq_len=2: must be between 3 \(\[CLS\] and two \[SEP\]\)"):
        export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=2, text_input="pair")
    assert export_tflite(model_dir(), tmp_path / "a.tflite", seq_len=2, text_input="single").seq_len == 2


def test_what_mediapipe_cuts_at_the_other_end_is_said(model_dir, tmp_path, caplog):
    vocabulary = open_vocabulary(model_dir()).with_truncation("left")
    vocabulary.write(tmp_path)
    export_tflite(load_model(model_dir()), tmp_path / "a.tflite", seq_len=12, tokenizer_from=tmp_path)
    assert "long texts lose their beginning" in caplog.text


def test_another_kind_of_model_is_refused_by_its_name(model_dir, tmp_path):
    network = logits_model(load_model(model_dir()))
    assert export_tflite(network, tmp_path / "a.tflite", seq_len=12, tokenizer_from=model_dir()).seq_len == 12
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="model is a Sequential; give a BertModel"):
        export_tflite(other, tmp_path / "b.tflite", tokenizer_from=model_dir())
