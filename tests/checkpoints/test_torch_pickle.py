"""A PyTorch checkpoint is read without PyTorch, and nothing in it is run."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tinybert_tf.checkpoints.torch_pickle import read_torch_checkpoint
from tinybert_tf.errors import InputError

STORAGE_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
}


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """Modules that carry torch's names while the tests pickle: pickle writes down only what it can look up."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGE_NAMES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_tensor_v3"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Storage:
    def __init__(self, array: np.ndarray, count: int | None = None):
        self.array, self.count = array, array.size if count is None else count


class Tensor:
    """Pickles as torch's tensors do."""

    def __init__(self, storage, offset, size, stride, rebuild="_rebuild_tensor_v2"):
        self.arguments, self.rebuild = (storage, offset, size, stride), rebuild

    def __reduce__(self):
        rebuild = getattr(sys.modules["torch._utils"], self.rebuild)
        return rebuild, (*self.arguments, False, collections.OrderedDict())


class Parameter(Tensor):
    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_parameter
        return rebuild, (Tensor(*self.arguments), True, collections.OrderedDict())


def tensor(array) -> Tensor:
    array = np.asarray(array)
    strides = tuple(step // array.itemsize for step in array.strides)
    return Tensor(Storage(array.ravel()), 0, array.shape, strides)


def save(path, value, *, compression=zipfile.ZIP_STORED, drop=(), byteorder=b"little"):
    storages: list[Storage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            if item not in storages:
                storages.append(item)
            storage_type = getattr(sys.modules["torch"], STORAGE_NAMES[item.array.dtype.name])
            return ("storage", storage_type, str(storages.index(item)), "cpu", item.count)

    program = io.BytesIO()
    Pickler(program, protocol=2).dump(value)
    records = {"data.pkl": program.getvalue(), "byteorder": byteorder, "version": b"3\n"}
    records |= {f"data/{key}": storage.array.tobytes() for key, storage in enumerate(storages)}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in records.items():
            if name not in drop:
                archive.writestr(f"pytorch_model/{name}", content)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_a_tensor_comes_back_with_its_type(path, dtype):
    array = (np.arange(6).reshape(2, 3) % 5).astype(dtype)
    read = read_torch_checkpoint(save(path, {"weight": tensor(array)}))["weight"]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_bfloat16_becomes_float32(path):
    array = np.array([1.5, -2.25, 3e38], ml_dtypes.bfloat16)
    read = read_torch_checkpoint(save(path, {"weight": tensor(array)}))["weight"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array.astype(np.float32))


def test_a_state_dict_as_a_module_gives_it(path):
    """An OrderedDict with an attribute `_metadata`, parameters among the tensors, a scalar and an empty tensor."""
    state = collections.OrderedDict(
        a=Parameter(Storage(np.arange(4.0)), 0, (4,), (1,)),
        b=tensor(np.int64(7)),
        c=tensor(np.zeros((0, 3), np.float32)),
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    read = read_torch_checkpoint(save(path, state))
    np.testing.assert_array_equal(read["a"], np.arange(4.0))
    assert read["b"].shape == () and read["b"] == 7
    assert read["c"].shape == (0, 3)


def test_offset_and_stride_are_honoured(path):
    shared = Storage(np.arange(12, dtype=np.float32))
    read = read_torch_checkpoint(
        save(
            path,
            {
                "whole": Tensor(shared, 0, (3, 4), (4, 1)),
                "transposed": Tensor(shared, 0, (4, 3), (1, 4)),
                "second_row": Tensor(shared, 4, (4,), (1,)),
                "every_other_column": Tensor(shared, 1, (3, 2), (4, 2)),
                "expanded": Tensor(shared, 5, (2, 2), (0, 1)),
            },
        )
    )
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(read["whole"], whole)
    np.testing.assert_array_equal(read["transposed"], whole.T)
    np.testing.assert_array_equal(read["second_row"], whole[1])
    np.testing.assert_array_equal(read["every_other_column"], whole[:, 1::2])
    np.testing.assert_array_equal(read["expanded"], [[5, 6], [5, 6]])
    assert np.shares_memory(read["whole"], read["transposed"])
    assert not read["whole"].flags.writeable


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["instead of the dict", "as a value", "as a tensor's size"])
def test_a_command_in_a_checkpoint_is_refused_and_not_run(path, where):
    proof = path.with_name("was_run")
    command = Hostile(os.system, f"touch '{proof}'")
    save(
        path,
        {
            "instead of the dict": command,
            "as a value": {"weight": tensor(np.zeros(2)), "extra": command},
            "as a tensor's size": {"weight": Tensor(Storage(np.zeros(2)), 0, command, (1,))},
        }[where],
    )
    with pytest.raises(
        InputError, match=r"system, which is not part of a state dict; nothing was executed.*safetensors"
    ):
        read_torch_checkpoint(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("collections", "namedtuple"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch.serialization", "FloatStorage"),
        ("numpy", "dtype"),
    ],
)
def test_no_other_name_can_be_reached(path, module, name):
    """Protocol 4 looks dotted names up piece by piece; both ways of naming are tried."""
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    for program in (f"c{module}\n{name}\n.".encode(), b"\x80\x04" + texts + b"\x93."):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", program)
        with pytest.raises(InputError, match=rf"asks to load {module}\.{name}"):
            read_torch_checkpoint(path)


def test_a_pickle_cannot_write_into_what_the_reader_holds(path):
    """The BUILD opcode sets attributes; on a storage it must not swap the bytes for something else."""
    head = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    build = b"N}X\x03\x00\x00\x00keyX\x01\x00\x00\x009s\x86b"
    with zipfile.ZipFile(path, "w") as archive:
        tail = b"K\x00K\x01\x85K\x01\x85\x89Nt"
        archive.writestr(
            "m/data.pkl",
            b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + head[2:] + build + tail + b"Rs.",
        )
        archive.writestr("m/data/0", np.ones(1, np.float32).tobytes())
    with pytest.raises(InputError, match="a storage that is not declared"):
        read_torch_checkpoint(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (7,), (1,), "reaches element 6 of a storage that has 6"),
        (5, (2,), (1,), "reaches element 6"),
        (0, (2, 3), (4, 1), "reaches element 6"),
        (0, (2**40,), (2**40,), "reaches element"),
        (-1, (2,), (1,), "do not make sense"),
        (5, (2,), (-1,), "do not make sense"),
        (0, (2, 3), (1,), "do not make sense"),
        (0, (2.0,), (1,), "do not make sense"),
    ],
)
def test_a_tensor_stays_inside_its_storage(path, offset, size, stride, message):
    save(path, {"weight": Tensor(Storage(np.arange(6.0)), offset, size, stride)})
    with pytest.raises(InputError, match=message):
        read_torch_checkpoint(path)


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (lambda: {"epoch": 3, "model": tensor(np.zeros(2))}, {}, "'epoch' is a int.*whole training checkpoint"),
        (lambda: {"model": {"weight": tensor(np.zeros(2))}}, {}, "'model' is a dict"),
        (lambda: [tensor(np.zeros(2))], {}, "holds a list"),
        (lambda: {"w": tensor(np.zeros(2, np.complex64))}, {}, "torch.ComplexFloatStorage"),
        (
            lambda: {"w": Tensor(Storage(np.zeros(2), 3), 0, (2,), (1,))},
            {},
            "storage 0 has 16 bytes, but 3 numbers of type fl",
        ),
        (lambda: {"w": Tensor("text", 0, (2,), (1,))}, {}, "refers to a str"),
        (lambda: {"w": tensor(np.zeros(2))}, {"drop": ["data/0"]}, "data/0 is missing"),
        (lambda: {"w": tensor(np.zeros(2))}, {"drop": ["data.pkl"]}, "holds 0 files named data.pkl"),
        (lambda: {"w": tensor(np.zeros(2))}, {"byteorder": b"big"}, "big-endian"),
        (lambda: {"w": tensor(np.zeros(2))}, {"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
    ],
)
def test_what_is_no_state_dict_is_named(path, value, options, message):
    save(path, value(), **options)
    with pytest.raises(InputError, match=message) as caught:
        read_torch_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and "safe_serialization=True" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_anywhere_is_refused(path):
    save(path, {"weight": tensor(np.arange(100.0))})
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut short"):
            read_torch_checkpoint(path)


def test_a_flipped_byte_never_gives_other_numbers(path):
    """zip's checksums see it: every byte of the file is tried, and what is read is either right or refused."""
    array = np.arange(20.0, dtype=np.float32)
    save(path, {"weight": tensor(array)})
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        try:
            read = read_torch_checkpoint(path)
        except InputError:
            continue
        np.testing.assert_array_equal(read["weight"], array)


def save_before_1_6(path, value, little_endian=True):
    """As torch.save wrote until PyTorch 1.5."""
    storages: list[Storage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            if item not in storages:
                storages.append(item)
            storage_type = getattr(sys.modules["torch"], STORAGE_NAMES[item.array.dtype.name])
            return ("storage", storage_type, str(9 - storages.index(item)), "cpu", item.count, None)

    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little_endian}):
            pickle.dump(part, file, protocol=2)
        Pickler(file, protocol=2).dump(value)
        keys = sorted(str(9 - number) for number in range(len(storages)))
        pickle.dump(keys, file, protocol=2)
        for key in keys:
            array = storages[9 - int(key)].array
            file.write(array.size.to_bytes(8, "little") + array.tobytes())
    return path


def test_the_format_before_1_6_is_read_alike(path, tmp_path):
    shared = Storage(np.arange(6, dtype=np.float32))
    state = {
        "a": Tensor(shared, 0, (2, 3), (3, 1)),
        "transposed": Tensor(shared, 0, (3, 2), (1, 3)),
        "half": Tensor(Storage(np.ones(3, np.float16)), 1, (2,), (1,), rebuild="_rebuild_tensor_v2"),
        "scalar": tensor(np.int64(7)),
    }
    old, new = (read_torch_checkpoint(write(path, state)) for write in (save_before_1_6, save))
    assert old.keys() == new.keys()
    for name, value in new.items():
        assert old[name].dtype == value.dtype
        np.testing.assert_array_equal(old[name], value)
    content = save_before_1_6(path, state).read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_torch_checkpoint(path)
    path.write_bytes(content + b"x")
    with pytest.raises(InputError, match="1 bytes follow the last storage"):
        read_torch_checkpoint(path)
    with pytest.raises(InputError, match="big-endian"):
        read_torch_checkpoint(save_before_1_6(path, state, little_endian=False))


def test_the_old_format_and_a_missing_file_are_told_apart(path):
    with pytest.raises(InputError, match="no such file"):
        read_torch_checkpoint(path)
    path.write_bytes(
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    )  # the magic number that the old format begins with
    with pytest.raises(InputError, match="header is damaged or cut short"):
        read_torch_checkpoint(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_torch_checkpoint(path.parent)


def test_equals_torch(path, monkeypatch):
    monkeypatch.undo()
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    state = {
        **layer.state_dict(),
        "t": layer.weight.T,
        "bf16": layer.weight.bfloat16(),
        "ids": torch.arange(4).expand(1, -1),
    }
    torch.save(state, path)
    read = read_torch_checkpoint(path)
    assert read.keys() == state.keys()
    for name, expected in state.items():
        expected = expected.detach()
        expected = expected.float() if expected.dtype == torch.bfloat16 else expected
        np.testing.assert_array_equal(read[name], expected.numpy())
