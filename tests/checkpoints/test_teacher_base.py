"""The parts in the packages become the model directory that was cut up, or one line that says what is wrong."""

import errno
import hashlib
import io
import os
import re
import shutil
import tempfile
import zipfile

import pytest

from tinybert_tf import presets
from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.checkpoints.teacher_base import join_parts
from tinybert_tf.errors import InputError

FILES = {
    name: name.encode() * 50 for name in ("config.json", "model.safetensors", "README.md", "tokenizer_config.json")
}
FILES["vocab.txt"] = b"words\n"
WEIGHTS = hashlib.sha256(FILES["model.safetensors"]).hexdigest()


@pytest.fixture
def packages(tmp_path):
    """A function that cuts a zipped model directory into three packages."""

    def cut(files):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"model/{name}", content)
        whole, paths = buffer.getvalue(), []
        for number in range(3):
            paths.append(tmp_path / f"part_{number}.whl")
            with zipfile.ZipFile(paths[-1], "w") as wheel:
                wheel.writestr("part/__init__.py", "")
                third = len(whole) // 3 + 1
                wheel.writestr(f"part/input/model.zip.00{number + 1}", whole[number * third : (number + 1) * third])
        return paths

    return cut


def test_the_parts_make_the_directory(packages, tmp_path):
    parts = packages(FILES | {"1_Pooling/config.json": b"{}", "../outside.txt": b"", "desktop.ini": b""})
    directory = join_parts(parts, tmp_path / "cache" / "mpnet_base", sha256=WEIGHTS)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES
    assert [path.name for path in directory.parent.iterdir()] == ["mpnet_base"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts[:2], "no whole zip file"),
        (lambda parts: parts[::-1], "no whole zip file"),
        (lambda parts: [*parts[:2], __file__], "download"),
    ],
)
def test_parts_that_do_not_make_it_are_refused(packages, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        join_parts(change(packages(FILES)), tmp_path / "model", sha256=WEIGHTS)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("fails_at", [1, 4])
def test_a_full_disk_is_not_blamed_on_the_downloads(packages, tmp_path, monkeypatch, fails_at):
    """Neither where the parts are joined, in the system's folder for such files, nor where the directory is written."""
    calls, parts = [], packages(FILES)

    def copy(source, target, really=shutil.copyfileobj):
        calls.append(target)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    place = tempfile.gettempdir() if fails_at == 1 else str(tmp_path / "model")
    with pytest.raises(InputError, match=f"^{re.escape(place)}: cannot be written: No space left on device; make room"):
        join_parts(parts, tmp_path / "model", sha256=WEIGHTS)
    assert not (tmp_path / "model").exists()


def test_other_weights_are_refused(packages, tmp_path):
    with pytest.raises(InputError, match="other weights"):
        join_parts(packages(FILES), tmp_path / "model", sha256="0" * 64)
    with pytest.raises(InputError, match=r"no vocab\.txt"):
        join_parts(packages({name: FILES[name] for name in FILES if name != "vocab.txt"}), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_preset_is_found_in_the_cache_or_says_how_to_get_it(packages, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"model=mpnet_base: this preset is not installed; make teacher-base"):
        resolve_directory("mpnet_base", "model")
    directory = join_parts(packages(FILES), presets.cache_directory() / "mpnet_base", sha256=WEIGHTS)
    assert resolve_directory("mpnet_base") == directory
