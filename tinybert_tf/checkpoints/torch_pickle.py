"""Reads `pytorch_model.bin` without PyTorch and without executing it.

A pickle is a program: a downloaded checkpoint can run any command when it is unpickled. The reader here knows the few
names that a state dict is made of, gives them stand-ins that only record their arguments, and refuses any other name.

Since PyTorch 1.6 torch.save writes a zip without compression: `<any>/data.pkl` is the pickled dict, `<any>/data/<key>` the
bytes of one storage. Before, it wrote five pickles in a row (a magic number, a version, the machine's sizes, the dict, the
keys of the storages) and behind them, in the order of the keys, the count (8 bytes) and the numbers of each storage. A tensor
is (storage, offset, size, stride) in elements; several may share one storage.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from tinybert_tf.errors import InputError

_CONVERT = (
    "convert it where PyTorch and transformers are: CLASS.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True) "
    "writes model.safetensors; CLASS is what config.json names as architectures (AutoModel would leave the head out)"
)

# The pickle of 0x1950A86A20F9469CFC6C, which the format of before 1.6 begins with.
_MAGIC = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


def read_torch_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name.

    Arrays have the dtype of the file, except bfloat16, which becomes float32. They are read-only views of the
    file's storages: tensors that share memory in the file (tied weights) share it here.

    Raises:
        InputError: if the file is missing, is not torch.save's, is truncated or damaged, or holds anything but a flat dict
            of tensors.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                file.seek(0)
                return _read_stream(file)
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:  # the last two: a damaged zip directory
        what = "damaged or cut short" if _begins_like_a_zip(path) else "not a file of torch.save, or cut short"
        raise InputError(f"{path}: {what} ({error}); download it again, or {_CONVERT}") from None
    except _RefusedError as refused:
        raise InputError(f"{path}: {refused}; {_CONVERT}") from None


class _RefusedError(Exception):
    """What was met that is not part of a plain state dict."""


def _begins_like_a_zip(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _read_archive(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    programs = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise _RefusedError(f"holds {len(programs)} files named data.pkl, a checkpoint has one")
    if sum(record.compress_size for record in archive.infolist()) > Path(archive.filename).stat().st_size:
        raise _RefusedError("holds fewer bytes than its records claim together")
    folder = programs[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and _read_record(archive, f"{folder}byteorder") != b"little":
        raise _RefusedError("was written on a big-endian machine")
    if archive.getinfo(programs[0]).file_size > _MOST_PROGRAM:
        raise _RefusedError(
            f"has a data.pkl of {archive.getinfo(programs[0]).file_size} bytes, far too many for a state dict"
        )
    reader = _StateDictReader(io.BytesIO(_read_record(archive, programs[0])))
    value = _unpickled(reader, "data.pkl")
    arrays = {}
    for key, (dtype, count) in reader.storages.items():
        content = _read_record(archive, f"{folder}data/{key}")
        if len(content) != count * dtype.itemsize:
            raise _RefusedError(
                f"storage {key} has {len(content)} bytes, but {count} numbers of type {dtype} are declared"
            )
        arrays[key] = np.frombuffer(content, dtype)
    return _tensors_of(value, arrays)


def _read_stream(file: BinaryIO) -> dict[str, np.ndarray]:
    """The format of before 1.6."""
    file_size = file.seek(0, io.SEEK_END)
    file.seek(0)
    # Parsed out of memory: a pickle that claims more than there is ends at the end of these bytes.
    program = io.BytesIO(file.read(_MOST_PROGRAM))
    _magic, _version, machine = (_unpickled(_StateDictReader(program), "its header") for _ in range(3))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise _RefusedError("was written on a big-endian machine, or has a damaged header")
    reader = _StateDictReader(program)
    value = _unpickled(reader, "its state dict")
    keys = _unpickled(_StateDictReader(program), "its list of storages")
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or {*keys} != reader.storages.keys():
        raise _RefusedError("is damaged: it lists other storages than its tensors have")
    arrays: dict[str, np.ndarray] = {}
    position = program.tell()
    for key in keys:
        dtype, count = reader.storages[key]
        end = position + 8 + count * dtype.itemsize
        if end > file_size:
            raise _RefusedError(f"is cut short: storage {key} would end at byte {end}, the file has {file_size}")
        file.seek(position)
        stored = int.from_bytes(file.read(8), "little")
        if stored != count:
            raise _RefusedError(f"is damaged: storage {key} has {stored} numbers, but {count} are declared")
        arrays[key] = np.frombuffer(file.read(end - position - 8), dtype)
        position = end
    if position != file_size:
        raise _RefusedError(f"is damaged: {file_size - position} bytes follow the last storage")
    return _tensors_of(value, arrays)


def _unpickled(reader: "_StateDictReader", part: str) -> Any:
    try:
        return reader.load()
    except (_RefusedError, zipfile.BadZipFile, OSError):
        raise
    except Exception as error:
        # A damaged or hostile pickle fails in the unpickler in a dozen ways; none of them is the caller's business.
        raise _RefusedError(
            f"{part} is damaged or cut short ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        ) from None


def _read_record(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        record = archive.getinfo(name)
    except KeyError:
        raise _RefusedError(f"{name} is missing") from None
    if record.compress_type != zipfile.ZIP_STORED:
        # torch.save does not compress; a few kilobytes that unpack to gigabytes are no checkpoint.
        raise _RefusedError(f"{name} is compressed")
    try:
        return archive.read(record)
    except (EOFError, RuntimeError) as error:  # cut short; a zip feature that is not known, a password
        raise zipfile.BadZipFile(f"{name}: {error or 'ends early'}") from None


def _tensors_of(value: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of an unpickled state dict, as views of its storages."""
    if not isinstance(value, dict):
        raise _RefusedError(f"holds a {type(value).__name__}, not a dict of tensors")
    arrays = {
        key: array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array for key, array in arrays.items()
    }
    tensors = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            kind = "dict" if isinstance(tensor, dict) else type(tensor).__name__.lstrip("_")
            raise _RefusedError(
                f"entry {str(name)[:80]!r} is a {kind}, not a tensor: "
                "this is a whole training checkpoint, not a state dict"
            )
        tensors[name] = _view(tensor, arrays)
    stored = sum(array.size for array in arrays.values())
    if sum(array.size for array in tensors.values()) > _MOST_SHARING * stored:
        raise _RefusedError(f"its tensors are more than {_MOST_SHARING} times what it stores")
    return tensors


def _view(tensor: "_Tensor", arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The tensor whose element [i, j, ...] is storage[offset + i * stride[0] + j * stride[1] + ...]."""
    storage, offset, size, stride = tensor.storage, tensor.offset, tensor.size, tensor.stride
    if not isinstance(storage, _Storage) or type(storage.key) is not str or storage.key not in arrays:
        raise _RefusedError("a tensor refers to a storage that is not declared")
    array = arrays[storage.key]
    if (
        type(size) is not tuple
        or type(stride) is not tuple
        or len(size) != len(stride)
        or not all(type(number) is int and 0 <= number < _MOST_NUMBERS for number in (offset, *size, *stride))
    ):
        raise _RefusedError("a tensor has an offset, a size and a stride that do not make sense")
    if 0 in size:
        return np.zeros(size, array.dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= len(array):
        raise _RefusedError(f"a tensor of size {size} reaches element {last} of a storage that has {len(array)}")
    if math.prod(size) > len(array):
        raise _RefusedError(f"a tensor of size {size} repeats the {len(array)} numbers of its storage")
    steps = [step * array.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(array[offset:], size, steps, writeable=False)


class _Storage:
    """A typed block of numbers: only its key, so that a pickle that writes into it reaches no array."""

    __slots__ = ("key",)

    def __init__(self, key: str):
        self.key = key


class _Tensor:
    """Which part of which storage; `_view` checks it, after all that the pickle can write has been written."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


class _StringKeys(collections.OrderedDict):
    """A dict with text keys only: hashing a deeply nested key would crash the process."""

    def __setitem__(self, key, value):
        if not isinstance(key, str):
            raise _RefusedError(f"has a key that is a {type(key).__name__}, not the name of a tensor")
        super().__setitem__(key, value)


class _StorageType:
    """Stands for `torch.FloatStorage` and its like."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


# The names and shapes of tens of thousands of tensors, in bytes.
_MOST_PROGRAM = 4 << 20
# A table of embeddings is shared by two tensors, small buffers by more; without a limit a megabyte can describe terabytes.
_MOST_SHARING = 4
# More dimensions than any tensor has.
_MOST_NUMBERS = 1 << 48


class _Function:
    """Stands for a function of torch; a new one per file, so that files cannot influence each other."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)


# The operations that the pickles of state dicts are made of, in the protocols 2 to 4. Without the others no set, no object
# and no block of memory as large as a file may claim can be asked for.
_OPERATIONS = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINUNICODE, pickle.SHORT_BINUNICODE),
    *(pickle.BINFLOAT, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID),
)


class _StateDictReader(pickle._Unpickler):
    """An unpickler that can make dicts of arrays and nothing else.

    It is the one that Python keeps beside the one in C: there the operations can be chosen, and a few bytes that number an
    object 2,147,483,647 do not make room for as many.
    """

    dispatch = {operation[0]: pickle._Unpickler.dispatch[operation[0]] for operation in _OPERATIONS}
    dispatch[pickle.EMPTY_DICT[0]] = lambda self: self.append(_StringKeys())

    def __init__(self, program: BinaryIO):
        super().__init__(program, encoding="utf-8")
        self.storages: dict[str, tuple[np.dtype, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The only way from a pickle to Python's names."""
        if (module, name) == ("collections", "OrderedDict"):
            return _Function(lambda: _StringKeys())
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _Function(self._rebuild_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Function(lambda data, requires_grad, backward_hooks: data)
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(name)
        if module == "torch" and name.endswith("Storage"):
            raise _RefusedError(f"holds numbers of the type torch.{name}, which are not read here")
        raise _RefusedError(f"asks to load {module}.{name}, which is not part of a state dict; nothing was executed")

    def persistent_load(self, reference: Any) -> _Storage:
        kind, storage_type, key, _location, count, *view = reference
        if kind != "storage" or not isinstance(storage_type, _StorageType) or type(key) is not str:
            raise _RefusedError("refers to something that is no storage")
        if type(count) is not int or not 0 <= count < _MOST_NUMBERS or any(view):
            raise _RefusedError(f"storage {key} is a part of another one, or has no count of numbers")
        declared = _STORAGE_DTYPES[storage_type.name], count
        if self.storages.setdefault(key, declared) != declared:
            raise _RefusedError(f"storage {key} is declared twice, and not alike")
        return _Storage(key)

    def _rebuild_tensor(self, storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise _RefusedError(f"a tensor refers to a {type(storage).__name__}, not to a storage")
        return _Tensor(storage, offset, tuple(size), tuple(stride))
