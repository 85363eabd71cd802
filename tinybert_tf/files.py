"""Atomic writing: an interruption leaves the old file or the new one, never a partial one."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinybert_tf.errors import InputError

# Part of the names of unfinished files: other machines may share the disk.
_HOST = re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:32]
_in_work: set[Path] = set()  # unfinished files of this process
_SYSTEM_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EBUSY,
    errno.EXDEV,
)
# What a rename says where the target has changed since it was looked at.
_DISTURBED = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)
_TRIES = 100


def system_error(error: BaseException) -> str | None:
    """The operating system's message of a disk error ("No space left on device"), or None. Python, safetensors and
    TensorFlow raise different exceptions for it, but all include this message.
    """
    said = str(error)
    return next((os.strerror(code) for code in _SYSTEM_ERRORS if os.strerror(code) in said), None)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns errors of a full, read-only or broken disk inside the block into an InputError that names `path`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = system_error(error)
        if reason is None:
            raise
        raise InputError(
            f"{path}: cannot be written: {reason}; make room or name another place, and start the same command again (what "
            "was written before is whole)"
        ) from None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path beside `path` for a new file or directory; on success it replaces `path`. On an error it is removed and
    `path` is unchanged. Leftovers of a killed process are removed by the next call for `path`. Two processes may write the
    same path: the last one to end wins.

    Raises:
        InputError: the disk is full or cannot be written, or a file would take the place of a directory, or a directory that
            of a file.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        _in_work.add(aside)
        try:
            yield aside
            _put_in_place(aside, path)
        finally:
            remove(aside)
            _in_work.discard(aside)


@contextlib.contextmanager
def held(directory: str | os.PathLike) -> Iterator[None]:
    """Holds a directory against other processes of this machine; makes it if need be. The system lets go of it when this process
    ends, however it ends. A bucket, or a disk that cannot be locked, is not held.

    Raises:
        InputError: another process holds it.
    """
    if "://" in str(directory):
        yield
        return
    with writing(directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{directory}: another process is writing there; wait for its end, or name another `output_dir`"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def _put_in_place(aside: Path, path: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            return _replace(aside, path)
        except OSError as error:
            # Another process replaced `path` at the same time, so that it is done: try again.
            if not left or error.errno not in _DISTURBED or not os.path.lexists(aside):
                raise


def _replace(aside: Path, path: Path) -> None:
    if path.is_file() and aside.is_dir():
        raise InputError(f"{path}: is a file, but a directory is written here; name another place or remove it")
    if not path.is_dir():
        os.replace(aside, path)
        return
    if not aside.is_dir():
        raise InputError(f"{path}: is a directory, but a file is written here; name another place or remove it")
    # A directory cannot be renamed onto one that holds files: step the old one aside first.
    old = path.with_name(f".{path.name}.{time.time_ns()}-{uuid.uuid4().hex[:8]}.old")
    try:
        path.rename(old)
        aside.rename(path)
    finally:
        if not path.exists():  # interrupted between the two
            _restore(old, path)
        if path.exists():  # the new one, the old one, or another process's
            remove(old)


def _restore(old: Path, path: Path) -> None:
    """Gives a directory that stepped aside its place back, unless another process is faster."""
    with contextlib.suppress(OSError):
        old.rename(path)


def _remove_leftovers(path: Path) -> None:
    """Removes what processes of this machine that live no more were writing for `path`, and directories that it replaced.

    If a process was killed between two renames, the directory that stepped aside last takes its place again. If that process
    lives, it finds a directory in its way and steps it aside once more.
    """
    names = os.listdir(path.parent)
    stepped = re.compile(rf"\.{re.escape(path.name)}\.(\d+-[0-9a-f]+)\.old")
    found = sorted(filter(None, map(stepped.fullmatch, names)), key=lambda match: match[1])
    old = [path.with_name(match[0]) for match in found]
    if old and not path.exists():
        _restore(old[-1], path)
    if path.exists():  # so none of those that were there before is needed
        for directory in old:
            remove(directory)
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_HOST)}-(\d+)-[0-9a-f]+\.partial")
    for match in filter(None, map(pattern.fullmatch, names)):
        leftover = path.with_name(match[0])
        if leftover not in _in_work and not _is_another_process(int(match[1])):
            remove(leftover)


def _is_another_process(number: int) -> bool:
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def remove(path: Path) -> None:
    """Removes a file, a directory, a link or nothing."""
    for _ in range(_TRIES):
        if not os.path.lexists(path):
            return
        with contextlib.suppress(FileNotFoundError):  # another process removes it at the same time
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def file_states(paths: Iterable[str | os.PathLike]) -> list[list]:
    """[[path, bytes, modification time], ...], sorted: to detect changed files."""
    states = {str(path): os.stat(path) for path in paths}
    return [[path, state.st_size, state.st_mtime_ns] for path, state in sorted(states.items())]


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes indented JSON atomically."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Raises InputError for a missing file and for one that is not JSON."""
    text = _read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # of syntax, of numbers too long, of nesting too deep
        raise InputError(f"{path}: not valid JSON ({error}); fix it or write it again") from None


def _read_text(path: str | os.PathLike) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); fix it or write it again") from None


def parse_json_object(text: str, where: str, remedy: str) -> dict[str, Any]:
    """Raises InputError, which begins with `where` and ends with `remedy`, for text that is not a JSON object."""
    try:
        value = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: holds a {type(value).__name__}, not an object {{...}}; {remedy}")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of a JSON object; of two with one name, the json module would drop the first without a word."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two entries named {next(name for name in names if names.count(name) > 1)!r}")
    return entries


def read_json_object(path: str | os.PathLike) -> dict[str, Any]:
    """Raises InputError for a missing file and for one that is not a JSON object."""
    return parse_json_object(_read_text(path), str(path), "fix it or write it again")
