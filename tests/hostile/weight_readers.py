"""The readers of weights, each with small valid files and a way to make broken ones."""

import functools
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy
from hypothesis import strategies as st

from tests.hostile.mutation import altered, damaged, json_files, texts
from tests.hostile.text_readers import VOCABULARY, WORDS, Reader, scratch_folder
from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, read_config, read_projections
from tinybert_tf.checkpoints.huggingface import read_safetensors, read_tensors
from tinybert_tf.checkpoints.rounding import FILE_NAME as ROUNDING_FILE
from tinybert_tf.checkpoints.rounding import read_rounding
from tinybert_tf.checkpoints.tf_checkpoint import CONFIG_NAME, read_variables
from tinybert_tf.checkpoints.word_codes import FILE_NAME as WORD_CODES
from tinybert_tf.checkpoints.word_codes import WordCodes, restore_codes, use_codes

CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 6,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "max_position_embeddings": 8,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "label2id": {"bad": 0, "good": 1},
    "id2label": {"0": "bad", "1": "good"},
    "problem_type": "single_label_classification",
    "num_labels": 2,
}


@functools.cache
def model_directory() -> Path:
    """A model directory of the configuration above."""
    from tinybert_tf.bert import BertConfig, build_model
    from tinybert_tf.checkpoints import save_model

    folder = scratch_folder()
    (folder / "words").mkdir()
    (folder / "words" / "vocab.txt").write_bytes(VOCABULARY)
    model = build_model(BertConfig.from_dict(CONFIG), "classification")
    save_model(model, folder / "model", tokenizer_from=folder / "words")
    return folder / "model"


def _beside(*left_out: str) -> Callable[[Path], None]:
    """Copies the model directory but for the file that is to be broken."""

    def prepare(folder: Path) -> None:
        for file in model_directory().iterdir():
            if file.name not in left_out:
                shutil.copy(file, folder)

    return prepare


# === Configuration ===


def _config(read: Callable, cost: int = 1) -> Callable[[], Reader]:
    smaller = {key: value for key, value in CONFIG.items() if key not in ("label2id", "id2label")}
    inputs = damaged([json.dumps(CONFIG, indent=1).encode()]) | json_files([CONFIG, smaller])
    return lambda: Reader("config.json", inputs, read, _beside("config.json"), cost)


# === safetensors ===

_TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.ones(3, np.float16)}
_DTYPES = ("F32", "F64", "F16", "BF16", "I8", "U64", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64", "F6_E2M3", "X", "f32")


@st.composite
def safetensors_files(draw) -> bytes:
    """Headers with wrong offsets, shapes, types and lengths before a body that may be too long or too short."""
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b.bias": {"dtype": "F16", "shape": [3], "data_offsets": [24, 30]},
    }
    change = draw(st.sampled_from(("type", "shape", "offsets", "anything", "more", "length")))
    number = st.sampled_from((0, 1, 2, 3, 6, 24, 30, 31, -1, 2**31, 2**62, 2**64 - 1, 10**30))
    if change == "type":
        header["a.weight"]["dtype"] = draw(st.sampled_from(_DTYPES))
        header["a.weight"]["shape"] = draw(st.sampled_from(([2, 3], [24], [6], [12], [48], [3])))
    elif change == "shape":
        header["a.weight"]["shape"] = draw(st.lists(number, max_size=70))
    elif change == "offsets":
        for name in ("a.weight", "b.bias"):
            header[name]["data_offsets"] = draw(st.lists(number, min_size=2, max_size=2))
    elif change == "anything":
        header = draw(altered([header]))
    elif change == "more":
        header |= {draw(texts): header["a.weight"] for _ in range(draw(st.integers(1, 4)))}
    text = json.dumps(header).encode()
    length = draw(number) % 2**64 if change == "length" else len(text)
    body = bytes(draw(st.sampled_from((30, 30, 30, 0, 29, 31, 4096))))
    return struct.pack("<Q", length) + text + body


def _safetensors() -> Reader:
    inputs = damaged([safetensors.numpy.save(_TENSORS)]) | safetensors_files()
    return Reader("model.safetensors", inputs, read_tensors)


def _projections() -> Reader:
    tensors = {f"fit_denses.{n}.weight": np.ones((4, 2), np.float32) for n in range(2)}
    wrong = [
        {"fit_dense.weight": np.ones(3, np.float32)},
        {"fit_dense.weight": np.array(3, np.float32)},
        {"fit_denses.0.weight": np.ones((4, 2), np.float32), "fit_denses.1.weight": np.ones((0, 2), np.int8)},
        {"fit_dense.weight": np.ones((4, 2), np.float32), "fit_dense.bias": np.ones((7, 7), np.float32)},
    ]
    files = [safetensors.numpy.save(made) for made in (tensors, *wrong)]
    return Reader(
        "distill.safetensors", damaged(files) | st.sampled_from(files), lambda folder: read_projections(folder, 2)
    )


@functools.cache
def _coded_model() -> tuple[BertModel, WordCodes]:
    """A network of the configuration above, and codes of its word table: three whole rows, the others in groups of two."""
    random, coded = np.random.default_rng(0), len(WORDS) - 3
    codes = WordCodes(
        np.concatenate([np.arange(1, 4), -np.arange(1, coded + 1)]).astype(np.int32),
        np.pad(random.integers(-7, 8, (3, 4)), ((1, 0), (0, 0))).astype(np.int8),
        np.ones(4, np.float32),
        np.pad(random.integers(1, 256, (coded, 2)), ((1, 0), (0, 0))).astype(np.uint8),
        np.pad(random.integers(-7, 8, (2, 255, 2)), ((0, 0), (1, 0), (0, 0))).astype(np.int8),
        np.ones(4, np.float32),
    )
    model = load_model(model_directory())
    use_codes(model, codes)
    return model, codes


def _word_codes() -> Reader:
    """Whole files with one wrong array: of another type, without an axis, with fewer entries or with large numbers."""
    model, codes = _coded_model()
    changes = (
        lambda x: x.astype(np.int64), lambda x: x.astype(np.float16), lambda x: x[:1], lambda x: x[..., :1], lambda x: x[:0],
        lambda x: x[0], lambda x: x[None], lambda x: x * 0 + np.array(-100).astype(x.dtype), lambda x: x.T,
    )  # fmt: skip
    files = [
        safetensors.numpy.save(vars(codes) | {name: np.array(change(value), order="C")})
        for name, value in vars(codes).items()
        for change in changes
    ]
    files.append(safetensors.numpy.save(vars(codes)))

    def read(folder: Path) -> None:
        path = folder / WORD_CODES
        restore_codes(model, read_safetensors(path), path)

    return Reader(WORD_CODES, damaged(files[-1:]) | st.sampled_from(files), read)


def _rounding() -> Reader:
    factors = {name: [1.0, 2.5, 1, 0.5] for name in ("attention", "context", "intermediate")}
    whole = {"quantize_aware": "int4", "scaling": [factors]}
    inputs = damaged([json.dumps(whole, indent=1).encode()]) | json_files([whole])
    return Reader(ROUNDING_FILE, inputs, read_rounding)


# === pytorch_model.bin ===


def _text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def _tensor(key: bytes, kind: bytes, count: int, size: bytes, stride: bytes) -> bytes:
    storage = (
        b"("
        + _text(b"storage")
        + b"ctorch\n"
        + kind
        + b"\n"
        + _text(key)
        + _text(b"cpu")
        + b"K"
        + bytes([count])
        + b"tQ"
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00"
        + size
        + stride
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


PROGRAM = (
    b"\x80\x02ccollections\nOrderedDict\n)Rq\x00("
    + _text(b"a.weight") + _tensor(b"0", b"FloatStorage", 6, b"K\x02K\x03\x86", b"K\x03K\x01\x86")
    + _text(b"b.bias") + _tensor(b"1", b"HalfStorage", 3, b"K\x03\x85", b"K\x01\x85")
    + b"u."
)  # fmt: skip
# Pieces of pickles: the ones that reserve memory, nest, call, or reach for a name.
OPCODES = (
    b"}", b")", b"]", b"(", b"t", b"\x85", b"\x86", b"\x87", b"\x85" * 50_000, b"N", b"K\x01", b"q\x00", b"h\x00", b"2", b"0",
    b"s", b"u", b"R", b"b", b"Q", b".", b"\x8f", b"\x90", b"\x91", b"\x81", b"\x92", b"\x93", b"\x94", b"J\xff\xff\xff\x7f",
    b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x96" + b"\xff" * 4 + b"\x03\0\0\0",
    b"\x8e" + b"\xff" * 4 + b"\x03\0\0\0", b"\x95" + b"\xff" * 7 + b"\x7f", b"cos\nsystem\n", b"cbuiltins\neval\n",
    b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"Pid\n",
    b"\x82\x01", b"V\\ud800\n", b"L9999999999999999L\n", b"h\x00h\x00\x86q\x00" * 40, _text(b"echo"), _text(b"storage"),
)  # fmt: skip


def torch_zip(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("m/data.pkl"), program)
        archive.writestr(zipfile.ZipInfo("m/data/0"), np.arange(6, dtype=np.float32).tobytes())
        archive.writestr(zipfile.ZipInfo("m/data/1"), np.ones(3, np.float16).tobytes())
    return file.getvalue()


def _torch() -> Reader:
    return Reader("pytorch_model.bin", damaged([torch_zip(PROGRAM)]), read_tensors)


def _torch_pickle() -> Reader:
    spliced = st.tuples(st.integers(0, len(PROGRAM)), st.lists(st.sampled_from(OPCODES), max_size=4)).map(
        lambda parts: PROGRAM[: parts[0]] + b"".join(parts[1]) + PROGRAM[parts[0] :]
    )
    programs = damaged([PROGRAM]) | spliced | st.lists(st.sampled_from(OPCODES), max_size=12).map(b"".join)
    return Reader("pytorch_model.bin", programs.map(torch_zip), read_tensors)


# === TensorFlow checkpoints ===


@functools.cache
def _tensorflow_checkpoint() -> Path:
    """A directory with bert_config.json and a checkpoint of two variables."""
    import tensorflow as tf

    folder = scratch_folder()
    variables = {"weight": tf.Variable(tf.ones((3, 4))), "bias": tf.Variable(tf.zeros(4))}
    tf.train.Checkpoint(**variables).save(str(folder / "bert_model.ckpt"))
    (folder / CONFIG_NAME).write_text(json.dumps(CONFIG))
    return folder


def _tensorflow(file: str) -> Callable[[], Reader]:
    def make() -> Reader:
        source = _tensorflow_checkpoint()
        name = next(path.name for path in source.iterdir() if path.name.endswith(file))

        def prepare(folder: Path) -> None:
            for path in source.iterdir():
                if path.name != name:
                    shutil.copy(path, folder)

        return Reader(name, damaged([(source / name).read_bytes()]), read_variables, prepare)

    return make


READERS: dict[str, Callable[[], Reader]] = {
    "config.json": _config(read_config),
    "model directory": _config(load_model, cost=3),
    "safetensors": _safetensors,
    "projections": _projections,
    "word codes": _word_codes,
    "quantization.json": _rounding,
    "pytorch_model.bin": _torch,
    "pytorch_model.bin: its pickle": _torch_pickle,
    "TensorFlow checkpoint: index": _tensorflow(".index"),
    "TensorFlow checkpoint: data": _tensorflow(".data-00000-of-00001"),
    "TensorFlow checkpoint: pointer": _tensorflow("checkpoint"),
    "TensorFlow checkpoint: bert_config.json": _tensorflow(CONFIG_NAME),
}
