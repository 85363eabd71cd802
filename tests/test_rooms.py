"""Which room of the library may import which: the one table of allowed arrows, and no circle among files."""

import ast
import functools
import graphlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "tinybert_tf"

# A room may import the rooms listed here, the files beside the rooms ("base") and itself. Reads from the ground upwards.
ROOMS = {
    "bert": set(),
    "data": set(),
    "report": set(),
    "checkpoints": {"bert"},
    "corpus": {"data"},
    "augmentation": {"bert", "checkpoints", "data"},
    "distill": {"bert", "checkpoints"},
    "evaluate": {"bert", "checkpoints", "data"},
    "export": {"bert", "checkpoints", "data", "evaluate"},
    "prune": {"bert", "checkpoints", "data", "distill", "export"},
    "train": {"bert", "checkpoints", "corpus", "data", "distill", "evaluate", "export", "prune"},
    "pipeline": {
        "augmentation",
        "bert",
        "checkpoints",
        "corpus",
        "data",
        "distill",
        "evaluate",
        "export",
        "prune",
        "report",
        "train",
    },
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The modules of this package that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return frozenset(name for name in found if name in MODULES)


def test_rooms_import_only_what_the_table_allows():
    for name, path in MODULES.items():
        parts = path.relative_to(PACKAGE).parts
        if len(parts) == 1:
            continue
        room = parts[0]
        used = {MODULES[other].relative_to(PACKAGE).parts for other in imports(path)}
        rooms = {parts[0] for parts in used if len(parts) > 1} - {room}
        assert rooms <= ROOMS[room], f"{name} imports {sorted(rooms - ROOMS[room])}, which {room} may not"


def test_rooms_form_no_circle():
    assert list(graphlib.TopologicalSorter(ROOMS).static_order())


def test_files_import_each_other_in_no_circle():
    """Packages' `__init__` files re-export their own files, so only edges between files count."""
    files = {name: path for name, path in MODULES.items() if path.name != "__init__.py"}
    graph = {name: imports(path) & files.keys() for name, path in files.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_every_room_says_in_one_line_what_it_is_for():
    for room in ROOMS:
        docstring = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
        assert docstring and docstring.splitlines()[0].endswith("."), f"{room}/__init__.py"
