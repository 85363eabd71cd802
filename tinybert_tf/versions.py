"""Versions of packages, for the records of runs."""

import importlib.metadata


def version(package: str) -> str:
    """The version of an installed distribution; "not installed" where it is not, or comes under another name.

    >>> version("no-such-package")
    'not installed'
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
