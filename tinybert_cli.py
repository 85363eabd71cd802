"""`tinybert COMMAND --flags`: every program of bin/ and tflite/ as one command.

tinybert finetune --task=sst2 ...       # python bin/finetune.py --task=sst2 ...
tinybert convert --model_dir=...        # python tflite/convert.py --model_dir=...

Outside of the package, whose import would bring TensorFlow along: a program first decides how it is imported.
"""

import ast
import importlib.util
import runpy
import sys
from pathlib import Path

_PACKAGE = Path(importlib.util.find_spec("tinybert_tf").origin).resolve().parent
# In a checkout the programs are beside the package; a wheel carries them inside.
_FOLDERS = tuple(
    checkout if checkout.is_dir() else _PACKAGE / "programs" / checkout.name
    for checkout in (_PACKAGE.parent / "bin", _PACKAGE.parent / "tflite")
)
# Two programs have the same name in both folders; that of tflite/ takes the longer one.
_RENAMED = {"evaluate": "evaluate_tflite"}


def commands() -> dict[str, Path]:
    """The programs by their command."""
    found = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob("*.py")):
            if path.name not in ("common.py", "__init__.py"):
                found[path.stem if path.stem not in found else _RENAMED[path.stem]] = path
    return found


def summary() -> str:
    """What `tinybert --help` prints: a line for each command."""
    programs = commands()
    width = max(map(len, programs))
    lines = [f"  {name:{width}}  {_first_sentence(path)}" for name, path in programs.items()]
    return (
        "usage: tinybert COMMAND [--flags]\n\n"
        + "\n".join(lines)
        + "\n\ntinybert COMMAND --help lists the flags of a command."
    )


def main() -> None:
    """The console command."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    programs = commands()
    if name in ("--help", "-h", "help"):
        print(summary())
        return
    if name not in programs:
        print(f"error: no command {name!r}; there are {', '.join(programs)}", file=sys.stderr)
        sys.exit(1)
    path = programs[name]
    sys.argv = [str(path), *sys.argv[2:]]
    # As `python bin/NAME.py` does: a program imports its neighbors by name.
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


if __name__ == "__main__":
    main()
