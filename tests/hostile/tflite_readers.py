"""The readers of TFLite files, each with small valid files and a way to make broken ones."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.hostile.mutation import damaged, utf8_texts
from tests.hostile.text_readers import Reader, scratch_folder
from tests.hostile.weight_readers import model_directory
from tinybert_tf.bert import INPUT_NAMES
from tinybert_tf.export import TFLiteClassifier, TFLiteModel, export_tflite, read_metadata
from tinybert_tf.export.writer import flatbuffer
from tinybert_tf.export.writer.metadata import BUFFER_NAME, LABELS_FILE, OWN_BUFFER_NAME, VOCABULARY_FILE

SEQ_LEN = 4


@functools.cache
def exported() -> bytes:
    path = scratch_folder() / "model.tflite"
    export_tflite(model_directory(), path, seq_len=SEQ_LEN, quantize="none")
    return path.read_bytes()


@functools.cache
def core() -> bytes:
    """The flatbuffer without the files behind it and without what is known of it: as another exporter would write it."""
    model = flatbuffer.unpack(exported())
    model.metadata = None
    return flatbuffer.pack(model)


def _classify(folder: Path) -> None:
    TFLiteClassifier(folder / "model.tflite").classify(["the film was good", "x"])


def _predict(folder: Path) -> None:
    model = TFLiteModel(folder / "model.tflite", verify=True)
    model.predict({name: np.ones((1, model.seq_len), np.int32) for name in INPUT_NAMES})


def _sealed() -> Reader:
    return Reader("model.tflite", damaged([exported()]), _classify, cost=2)


def _with_entries(entries: dict[bytes, bytes]) -> bytes:
    """The file with other bytes under names of its metadata, and no digest."""
    model = flatbuffer.unpack(exported())
    model.metadata = [entry for entry in model.metadata if entry.name in (BUFFER_NAME, OWN_BUFFER_NAME)]
    for entry in model.metadata:
        if entry.name in entries:
            model.buffers[entry.buffer].data = np.frombuffer(entries[entry.name], np.uint8)
    return flatbuffer.pack(model) + exported()[files_begin() :]


@functools.cache
def files_begin() -> int:
    return exported().index(b"PK\x03\x04")


@functools.cache
def _entries() -> dict[bytes, bytes]:
    model = flatbuffer.unpack(exported())
    return {entry.name: bytes(np.asarray(model.buffers[entry.buffer].data, np.uint8)) for entry in model.metadata}


def _metadata() -> Reader:
    description = damaged([_entries()[BUFFER_NAME]]).map(lambda content: _with_entries({BUFFER_NAME: content}))
    own = damaged([_entries()[OWN_BUFFER_NAME]]).map(lambda content: _with_entries({OWN_BUFFER_NAME: content}))
    return Reader(
        "model.tflite", description | description | own, lambda folder: read_metadata(folder / "model.tflite"), cost=2
    )


@st.composite
def _other_files(draw) -> bytes:
    """The model with an archive that holds other files, compressed or not, under names that lead elsewhere."""
    import io
    import zipfile

    lines = st.lists(utf8_texts, max_size=6).map("\n".join).map(str.encode)
    names = st.sampled_from((VOCABULARY_FILE, LABELS_FILE, "../../escaped", "/tmp/escaped", "labels.txt/../x"))
    whole = io.BytesIO(exported()[: files_begin()])
    with zipfile.ZipFile(whole, "a") as archive:
        for _ in range(draw(st.integers(0, 3))):
            content = draw(lines | st.sampled_from((bytes(20_000_000), exported()[files_begin() :])))
            kind = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
            entry = zipfile.ZipInfo(draw(names))
            if len(content) > 1_000_000:
                kind = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, kind)
    return whole.getvalue()


def _files() -> Reader:
    tail = damaged([exported()[files_begin() :]]).map(lambda tail: exported()[: files_begin()] + tail)
    return Reader("model.tflite", tail | _other_files(), lambda folder: read_metadata(folder / "model.tflite"), cost=2)


def _core_damaged() -> Reader:
    return Reader("model.tflite", damaged([core()]), _predict, cost=4)


@st.composite
def _references(draw) -> bytes:
    """A model whose tensors, operations and signatures refer to other places, or have other shapes and types."""
    model = flatbuffer.unpack(core())
    graph = model.subgraphs[0]
    index = st.integers(-3, len(graph.tensors) + 2) | st.sampled_from((-(2**31), 2**31 - 1))
    for _ in range(draw(st.integers(1, 3))):
        tensor = graph.tensors[draw(st.integers(0, len(graph.tensors) - 1))]
        operator = graph.operators[draw(st.integers(0, len(graph.operators) - 1))]
        change = draw(
            st.sampled_from(("buffer", "shape", "type", "reads", "writes", "code", "outputs", "options", "signature"))
        )
        if change == "buffer":
            tensor.buffer = draw(st.integers(0, len(model.buffers) + 2))
        elif change == "shape":
            tensor.shape = np.array(
                draw(st.lists(st.sampled_from((-1, 0, 1, 2, 4, 12, 2**31 - 1)), max_size=5)), np.int32
            )
        elif change == "type":
            tensor.type = draw(st.integers(0, 20))
        elif change == "reads" and len(operator.inputs):
            operator.inputs = np.array(operator.inputs)
            operator.inputs[draw(st.integers(0, len(operator.inputs) - 1))] = draw(index)
        elif change == "writes":
            operator.outputs = np.array([draw(index)], np.int32)
        elif change == "code":
            operator.opcodeIndex = draw(st.integers(0, len(model.operatorCodes) + 1))
        elif change == "outputs":
            graph.outputs = np.array([draw(index)], np.int32)
        elif change == "options":
            operator.builtinOptions, operator.builtinOptionsType = None, 0
        elif change == "signature":
            model.signatureDefs[0].inputs[draw(st.integers(0, 2))].tensorIndex = draw(
                st.integers(0, len(graph.tensors) + 2)
            )
    return flatbuffer.pack(model)


def _references_altered() -> Reader:
    return Reader("model.tflite", _references(), _predict, cost=10)


READERS: dict[str, Callable[[], Reader]] = {
    "TFLite": _sealed,
    "TFLite metadata": _metadata,
    "TFLite: vocabulary and labels": _files,
    "TFLite of another exporter": _core_damaged,
    "TFLite of another exporter: its references": _references_altered,
}
