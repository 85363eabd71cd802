"""On import, and where the command line asks for `--help`: stand-ins for packages that take seconds to import.

Help needs the declarations of settings and nothing that computes.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence

_HELP_FLAGS = {"help", "helpshort", "helpfull", "helpxml", "?"}
_HEAVY = {
    "ai_edge_litert",
    "apache_beam",
    "keras",
    "keras_hub",
    "matplotlib",
    "official",
    "scipy",
    "seqeval",
    "sklearn",
    "tensorflow",
    "tensorflow_datasets",
    "tensorflow_text",
}


class _Anything(type):
    """The type of a class whose attributes, items and calls are the class itself. Other classes can inherit from it."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *arguments, **options):
        return cls

    def __getitem__(cls, key):
        return cls


class _Placeholder(metaclass=_Anything):
    """Stands for everything in a package that is not imported."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in _HEAVY:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        module.__getattr__ = lambda name: getattr(_Placeholder, name)


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help and so for nothing else."""
    return any(argument.startswith("-") and argument.lstrip("-") in _HELP_FLAGS for argument in arguments[1:])


if _asks_for_help(sys.argv):
    sys.meta_path.insert(0, _Finder())
