"""Metadata that MediaPipe and the Task Library read from a model file: tensor names, vocabulary, labels.

The description is a separate flatbuffer (schema "M001") in a buffer of the model that is registered under the name
TFLITE_METADATA. The files that it names, vocab.txt and labels.txt, are a zip archive behind the model's last byte; the
runtimes map them in place, so they are stored without compression.

The schema is public and small, and ten fields of its tables are needed: they are written here by slot number, so that an
export does not need MediaPipe. An entry of this package holds what the schema has no field for: the head, and whether the
vocabulary is lower-cased.
Slots: https://github.com/google-ai-edge/mediapipe, mediapipe/tasks/metadata/metadata_schema.fbs
"""

import dataclasses
import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinybert_tf.errors import InputError
from tinybert_tf.export.writer.flatbuffer import read_tflite
from tinybert_tf.vocabulary import AddedToken, Vocabulary

BUFFER_NAME = b"TFLITE_METADATA"
OWN_BUFFER_NAME = b"tinybert_tf"
VOCABULARY_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"

_IDENTIFIER = b"M001"
# The schema version that brought BertTokenizerOptions and input_process_units, the newest of what is used here.
_MIN_PARSER_VERSION = "1.1.0"

# Slots: the place of a field in its table of the schema.
_NAME, _DESCRIPTION = 0, 1  # the same in AssociatedFile, TensorMetadata, SubGraphMetadata and ModelMetadata
_FILE_TYPE = 2
_TENSOR_CONTENT, _TENSOR_FILES = 3, 6
_CONTENT_TYPE, _CONTENT = 0, 1
_OPTIONS_TYPE, _OPTIONS = 0, 1
_TOKENIZER_VOCABULARY = 0
_INPUTS, _OUTPUTS, _INPUT_PROCESS_UNITS = 2, 3, 5
_SUBGRAPHS, _PARSER_VERSION = 3, 7

# Enumeration values.
_FEATURE_PROPERTIES = 1
_BERT_TOKENIZER_OPTIONS = 4
_TENSOR_AXIS_LABELS = 2
_VOCABULARY = 5

_INPUT_DESCRIPTIONS = {
    "ids": "Word piece ids: [CLS], the text, [SEP], then 0 up to the full length.",
    "mask": "1 for every word piece, 0 for padding.",
    "segment_ids": "0 for the first text, 1 for the second.",
    "text": "A text, UTF-8.",
    "text_pair": "The second text of a pair, UTF-8.",
}
INPUT_NAMES = ("ids", "mask", "segment_ids")


@dataclasses.dataclass(frozen=True)
class HeadMetadata:
    """The description of a head's files.

    Attributes:
        name, description: for people.
        outputs: (name, description) of each output tensor, in their order.
        task_api: which task API of MediaPipe or the Task Library loads the file.
    """

    name: str
    description: str
    outputs: tuple[tuple[str, str], ...]
    task_api: str


def _vector(description: str) -> HeadMetadata:
    return HeadMetadata(
        "BERT text encoder",
        "Gives a vector for a text: of texts that mean similar things the cosine is large. Its length is not 1.",
        (("embedding", description),),
        "MediaPipe's TextEmbedder and the Task Library's take it, for single texts; their option l2_normalize makes lengths 1",
    )


# The Task Library's classifiers end the process if no output is called "probability".
HEADS = {
    "classification": HeadMetadata(
        "BERT text classifier",
        "Gives the probability of each label for a text or a pair of texts.",
        (("probability", "The probability of each label, in the order of labels.txt."),),
        "MediaPipe's TextClassifier and the Task Library's BertNLClassifier take it, for single texts",
    ),
    "token_classification": HeadMetadata(
        "BERT token classifier",
        "Gives the probability of each label for each word piece.",
        (("probability", "The probability of each label, in the order of labels.txt, for each word piece."),),
        "no task API of MediaPipe or the Task Library takes it: tokenize in the app and run it with an interpreter",
    ),
    "regression": HeadMetadata(
        "BERT text scorer",
        "Gives one value for a text or a pair of texts.",
        (("probability", "The predicted value, which is no probability."),),
        "MediaPipe's TextClassifier and the Task Library's BertNLClassifier take it, for single texts: the value is the "
        "score of the only category",
    ),
    "span": HeadMetadata(
        "BERT question answerer",
        "Finds the answer to a question in a text.",
        (
            ("end_logits", "The logit of each position as the answer's end."),
            ("start_logits", "The logit of each position as the answer's start."),
        ),
        "the Task Library's BertQuestionAnswerer takes it, with 384 tokens; MediaPipe has no such task",
    ),
    "pooled": _vector("The pooler's output for [CLS]."),
    "mean": _vector("The mean of the outputs for all tokens of the text, [CLS] and [SEP] included."),
    "first_token": _vector("The output for [CLS]."),
}
# labels.txt of a regression file, since the Task Library wants a label for each value.
REGRESSION_LABELS = ("score",)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of a model file.

    Attributes:
        inputs: metadata names of the input tensors, in their order.
        outputs: the same of the output tensors.
        vocabulary: word pieces by id; None if the file has none.
        labels: classes by id; None for a model that does not classify.
        lower_case: whether texts are lower-cased before they are split.
        settings: how texts are prepared; see `tokenizer_settings`.
        head: a key of `HEADS`; None in files of earlier versions.
    """

    name: str
    description: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    vocabulary: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    lower_case: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    head: str | None = None


def add_description(
    model: schema.ModelT,
    head: str,
    *,
    labels: Sequence[str] | None,
    inputs: Sequence[str] = INPUT_NAMES,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Adds the description to an unpacked model.

    Args:
        model: changed in place.
        head: a key of `HEADS`.
        labels: lines of labels.txt, None for no such file.
        inputs: names of the graph's inputs, in their order; keys of the descriptions above. A model of ids gets a BERT
            tokenizer with vocab.txt; a model of texts contains its tokenizer.
        settings: how texts are prepared, see `tokenizer_settings`; absent: they are lower-cased.
    """
    add_entry(model, BUFFER_NAME, _encode_description(HEADS[head], inputs, labels))
    add_entry(model, OWN_BUFFER_NAME, json.dumps({"lower_case": True} | dict(settings or {}) | {"head": head}).encode())


def tokenizer_settings(vocabulary: Vocabulary) -> dict[str, Any]:
    """How texts are prepared for a vocabulary, in the form of the file's own entry; defaults are left out.

    The tokenizers in tflite/android and tflite/web read it.
    """
    settings = {"lower_case": vocabulary.lower_case} | vocabulary.unusual_settings()
    if vocabulary.added:
        settings["added_tokens"] = [[t.content, t.normalized, t.single_word] for t in vocabulary.added]
    return settings


def vocabulary_of(source: str, words: Sequence[str], settings: Mapping[str, Any]) -> Vocabulary:
    """The inverse of `tokenizer_settings`: the vocabulary of a file.

    Args:
        source: the file, for messages.
        words: all words by id.
        settings: of the file's own entry.

    Raises:
        InputError: added tokens that are not among the words.
    """
    lower_case = bool(settings.get("lower_case", True))
    entries = settings.get("added_tokens", [])
    if not all(isinstance(entry, list) and len(entry) == 3 and entry[0] in words for entry in entries):
        raise InputError(f"{source}: its added tokens are damaged; export it again")
    return Vocabulary(
        source,
        tuple(words),
        lower_case,
        bool(settings.get("strip_accents", lower_case)),
        tuple(AddedToken(*entry) for entry in entries),
        settings.get("truncation_side", "right"),
        settings.get("normalization", "bert"),
    )


def add_entry(model: schema.ModelT, name: bytes, content: bytes) -> None:
    model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
    model.metadata.append(schema.MetadataT(name=name, buffer=len(model.buffers) - 1))


def with_files(content: bytes, vocabulary: Sequence[str] | None, labels: Sequence[str] | None) -> bytes:
    """A packed model with vocab.txt and labels.txt behind it.

    Raises:
        InputError: a label that a line of labels.txt cannot hold.
    """
    named = {VOCABULARY_FILE: vocabulary, LABELS_FILE: labels}
    files = {name: lines for name, lines in named.items() if lines is not None}
    broken = [label for label in labels or () if not label.strip() or set("\n\r\0") & set(label)]
    if broken:
        raise InputError(f"label {broken[0]!r}: labels.txt holds one label a line; rename it in config.json's label2id")
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, lines in files.items():
            # Without an explicit date an entry gets today's, and two exports of one model would differ.
            archive.writestr(zipfile.ZipInfo(name), "".join(f"{line}\n" for line in lines))
    return whole.getvalue()


def read_metadata(path: str | Path) -> Metadata:
    """Reads the names of a .tflite file's tensors, its vocabulary and its labels.

    Raises:
        InputError: not a TFLite file, no metadata in it, or damaged metadata.
    """
    content = read_tflite(path)
    try:
        root = _find_description(content)
        if root is None:
            raise InputError(f"{path}: has no {BUFFER_NAME.decode()}; tflite/convert.py writes files that have it")
        own = json.loads(find_entry(content, OWN_BUFFER_NAME) or b"{}")
        subgraph = root.tables(_SUBGRAPHS)[0]
        outputs = subgraph.tables(_OUTPUTS)
        vocabularies = [
            file.text(_NAME)
            for unit in subgraph.tables(_INPUT_PROCESS_UNITS)
            if unit.byte(_OPTIONS_TYPE) == _BERT_TOKENIZER_OPTIONS
            for file in unit.table(_OPTIONS).tables(_TOKENIZER_VOCABULARY)
        ]
        label_files = [
            file.text(_NAME)
            for output in outputs
            for file in output.tables(_TENSOR_FILES)
            if file.byte(_FILE_TYPE) == _TENSOR_AXIS_LABELS
        ]
        named = {name for names in (vocabularies, label_files) for name in names[:1]}
        files = _read_files(content, named)
        head = own.get("head")
        has_labels = bool(label_files) and head != "regression"
        return Metadata(
            name=root.text(_NAME),
            description=root.text(_DESCRIPTION),
            inputs=tuple(tensor.text(_NAME) for tensor in subgraph.tables(_INPUTS)),
            outputs=tuple(tensor.text(_NAME) for tensor in outputs),
            vocabulary=_lines(files[vocabularies[0]]) if vocabularies else None,
            labels=_lines(files[label_files[0]]) if has_labels else None,
            lower_case=bool(own.get("lower_case", True)),
            settings=own,
            head=head if head in HEADS else None,
        )
    except InputError:
        raise
    except Exception as error:
        # Offsets of a damaged flatbuffer point anywhere: whatever the exception is, the file is at fault.
        raise InputError(
            f"{path}: its metadata is damaged ({type(error).__name__}: {' '.join(str(error).split())[:120]}); export it again"
        ) from None


def _lines(data: bytes) -> tuple[str, ...]:
    return tuple(line.removesuffix("\r") for line in data.decode().removesuffix("\n").split("\n"))


def _read_files(content: bytes, names: Collection[str]) -> dict[str, bytes]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist() if entry.filename in names}
        for name, entry in entries.items():
            # The runtimes refuse compressed entries; and a few kilobytes may unpack to gigabytes.
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
        return {name: archive.read(entry) for name, entry in entries.items()}


# === Writing: a table is a dict of slot -> value ===


def _encode_description(head: HeadMetadata, inputs: Sequence[str], labels: Sequence[str] | None) -> bytes:
    vocabulary = {
        _NAME: VOCABULARY_FILE,
        _DESCRIPTION: "Word pieces, one a line; the line number is the id.",
        _FILE_TYPE: _VOCABULARY,
    }
    label_file = {
        _NAME: LABELS_FILE,
        _DESCRIPTION: "Labels, one a line; the line number is the class.",
        _FILE_TYPE: _TENSOR_AXIS_LABELS,
    }

    def tensor(tensor_name: str, tensor_description: str) -> dict:
        return {
            _NAME: tensor_name,
            _DESCRIPTION: tensor_description,
            _TENSOR_CONTENT: {_CONTENT_TYPE: _FEATURE_PROPERTIES, _CONTENT: {}},
        }

    output_tensors = [tensor(*output) for output in head.outputs]
    if labels is not None:
        output_tensors[0][_TENSOR_FILES] = [label_file]
    tokenizer = {_OPTIONS_TYPE: _BERT_TOKENIZER_OPTIONS, _OPTIONS: {_TOKENIZER_VOCABULARY: [vocabulary]}}
    subgraph = {_INPUTS: [tensor(name, _INPUT_DESCRIPTIONS[name]) for name in inputs], _OUTPUTS: output_tensors}
    if tuple(inputs) == INPUT_NAMES:
        subgraph[_INPUT_PROCESS_UNITS] = [tokenizer]
    root = {
        _NAME: head.name,
        _DESCRIPTION: f"{head.description} In use: {head.task_api}.",
        _SUBGRAPHS: [subgraph],
        _PARSER_VERSION: _MIN_PARSER_VERSION,
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, root), _IDENTIFIER)
    return bytes(builder.Output())


def _write_table(builder: flatbuffers.Builder, table: dict) -> int:
    # Children first: a flatbuffer is written from its leaves upwards.
    children = {slot: _write_child(builder, value) for slot, value in table.items() if not isinstance(value, int)}
    builder.StartObject(max(table, default=-1) + 1)
    for slot, value in table.items():
        if slot in children:
            builder.PrependUOffsetTRelativeSlot(slot, children[slot], 0)
        else:
            builder.PrependUint8Slot(slot, value, 0)  # every number used here is a one-byte enumeration
    return builder.EndObject()


def _write_child(builder: flatbuffers.Builder, value: str | dict | list) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, dict):
        return _write_table(builder, value)
    tables = [_write_table(builder, entry) for entry in value]
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


# === Reading ===


class _Table:
    """A table of a flatbuffer, read by slot."""

    def __init__(self, table: flatbuffers.table.Table):
        self._table = table

    def _offset(self, slot: int) -> int:
        return self._table.Offset(4 + 2 * slot)

    def byte(self, slot: int) -> int:
        offset = self._offset(slot)
        return self._table.Get(flatbuffers.number_types.Uint8Flags, self._table.Pos + offset) if offset else 0

    def text(self, slot: int) -> str:
        offset = self._offset(slot)
        return self._table.String(self._table.Pos + offset).decode() if offset else ""

    def table(self, slot: int) -> "_Table":
        position = self._table.Indirect(self._table.Pos + self._offset(slot))
        return _Table(flatbuffers.table.Table(self._table.Bytes, position))

    def tables(self, slot: int) -> list["_Table"]:
        offset = self._offset(slot)
        if not offset:
            return []
        start = self._table.Vector(offset)
        return [
            _Table(flatbuffers.table.Table(self._table.Bytes, self._table.Indirect(start + 4 * index)))
            for index in range(self._table.VectorLen(offset))
        ]


def _find_description(content: bytes) -> _Table | None:
    description = find_entry(content, BUFFER_NAME)
    if description is None:
        return None
    if description[4:8] != _IDENTIFIER:
        raise ValueError(f"identifier {description[4:8]!r}, not {_IDENTIFIER!r}")
    root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, description, 0)
    return _Table(flatbuffers.table.Table(description, root))


def find_entry(content: bytes, name: bytes) -> bytes | None:
    """The buffer that a packed model's metadata registers under a name; None if there is none."""
    model = schema.Model.GetRootAs(content)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == name:
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    return None
