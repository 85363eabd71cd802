"""The BUILD file tells the truth about the tree.

Bazel itself is not run here. A BUILD file is Python in syntax, so it is executed with stand-ins for Bazel's functions
that write down what it declares, and the declarations are compared with the files.
"""

import ast
import functools
import os
import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NOT_OURS = {"build", "dist", "runs", "node_modules", "__pycache__"}  # and every folder whose name begins with a dot


@functools.cache
def tree_files() -> tuple[str, ...]:
    found = []
    for folder, subfolders, names in os.walk(REPOSITORY):
        subfolders[:] = [s for s in subfolders if s not in NOT_OURS and not s.startswith((".", "bazel-"))]
        found += [Path(folder, name).relative_to(REPOSITORY).as_posix() for name in names]
    return tuple(sorted(found))


def matches(path: str, pattern: str) -> bool:
    """Bazel's glob: `*` stays inside a folder, `**` stands for any number of folders."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    regex = "".join(pieces.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*)", pattern))
    return re.fullmatch(regex, path) is not None


@functools.cache
def declarations() -> tuple[dict[str, dict], list[tuple], dict]:
    """Targets by name, load() calls, and the file's variables."""
    targets, loads = {}, []

    def rule(kind):
        def declare(*, name, **attributes):
            assert name not in targets, f"BUILD declares {name} twice"
            targets[name] = {"kind": kind, **attributes}

        return declare

    def glob(include, exclude=(), allow_empty=False):
        assert all(isinstance(patterns, list | tuple) for patterns in (include, exclude))
        found = [
            path
            for path in tree_files()
            if any(matches(path, pattern) for pattern in include) and not any(matches(path, p) for p in exclude)
        ]
        assert found or allow_empty, f"BUILD: glob({include}) matches nothing; Bazel refuses that"
        return found

    scope = {
        "load": lambda *arguments: loads.append(arguments),
        "package": lambda **_: None,
        "glob": glob,
        **{kind: rule(kind) for kind in ("py_library", "py_binary", "py_test")},
    }
    exec(compile((REPOSITORY / "BUILD").read_text(), "BUILD", "exec"), scope)
    return targets, loads, scope


def test_rules_are_loaded_from_rules_python():
    targets, loads, _ = declarations()
    assert [source for source, *_ in loads] == ["@rules_python//python:defs.bzl"]
    assert {target["kind"] for target in targets.values()} == set(loads[0][1:])
    assert 'bazel_dep(name = "rules_python"' in (REPOSITORY / "MODULE.bazel").read_text()


def test_every_python_file_stands_in_exactly_one_target():
    owners: dict[str, list[str]] = {}
    for name, target in declarations()[0].items():
        for source in target["srcs"]:
            owners.setdefault(source, []).append(name)
    assert {path: names for path, names in owners.items() if len(names) > 1} == {}
    assert {path for path in tree_files() if path.endswith(".py")} - owners.keys() == set(), "in no target of BUILD"


def test_every_source_and_data_file_exists():
    for name, target in declarations()[0].items():
        missing = {*target["srcs"], *target.get("data", ())} - set(tree_files())
        assert not missing, f"BUILD: {name} names files that do not exist: {missing}"


def test_every_label_exists():
    targets, _, scope = declarations()
    packages = {*scope["PACKAGES"], *scope["DEV_PACKAGES"]}
    for name, target in targets.items():
        for label in target["deps"]:
            known = label[1:] in targets if label.startswith(":") else label in packages
            assert known, f"BUILD: {name} depends on {label}, which does not exist"


def test_packages_are_those_of_pyproject():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    scope = declarations()[2]

    def hub_names(requirements):
        return [
            "@pypi//" + re.match(r"[\w.-]+", requirement)[0].lower().replace("-", "_") for requirement in requirements
        ]

    assert sorted(scope["PACKAGES"]) == sorted(hub_names(project["dependencies"]))
    assert sorted(scope["DEV_PACKAGES"]) == sorted(hub_names(project["optional-dependencies"]["dev"]))


def imported_modules(path: str) -> set[str]:
    """Modules of this project that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # `from tinybert_tf.distill import losses`: a module or something in the package, one room either way.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "tinybert_tf"}


def reachable(name: str, path: tuple[str, ...] = ()) -> set[str]:
    assert name not in path, f"BUILD: a circle of dependencies: {' -> '.join((*path, name))}"
    labels = {label[1:] for label in declarations()[0][name]["deps"] if label.startswith(":")}
    return labels.union(*(reachable(label, (*path, name)) for label in labels))


def test_targets_depend_on_the_rooms_that_their_files_import():
    """Also: no room leads back to itself, because Bazel would refuse it."""
    targets = declarations()[0]
    owner = {source: name for name, target in targets.items() for source in target["srcs"]}

    def target_of(module: str) -> str:
        while module:
            for path in (module.replace(".", "/") + ".py", module.replace(".", "/") + "/__init__.py"):
                if path in owner:
                    return owner[path]
            room = module.replace(".", "/")
            if room in targets:
                return room
            module = module.rpartition(".")[0]
        raise AssertionError(f"no target of BUILD holds {module}")

    missing = {
        (name, needed)
        for name, target in targets.items()
        for source in target["srcs"]
        for needed in {target_of(module) for module in imported_modules(source)}
        if needed != name and needed not in reachable(name)
    }
    assert not missing, f"BUILD: (target, what its deps lack): {sorted(missing)}"


def test_rooms_depend_on_nothing_that_their_files_do_not_import():
    for name, target in declarations()[0].items():
        if not name.startswith("tinybert_tf/"):
            continue
        modules = {module for source in target["srcs"] for module in imported_modules(source)}
        imported = {".".join(module.split(".")[:2]).replace(".", "/") for module in modules}
        rooms = {label[1:] for label in target["deps"] if label.startswith(":")} - {"tinybert_tf/base"}
        assert rooms <= imported, f"BUILD: {name} imports nothing of {sorted(rooms - imported)}"
