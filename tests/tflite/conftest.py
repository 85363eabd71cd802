"""The module that writes test vectors, and what it writes, once for all tests of this folder."""

import importlib.util
from pathlib import Path

import pytest

ANDROID = Path(__file__).resolve().parents[2] / "tflite" / "android"


@pytest.fixture(scope="session")
def vectors_module():
    spec = importlib.util.spec_from_file_location("make_test_vectors", ANDROID / "make_test_vectors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def written_vectors(vectors_module, tmp_path_factory):
    """(folder, module): the vectors that need no real data."""
    folder = tmp_path_factory.mktemp("vectors")
    vectors_module.write(folder)
    return folder, vectors_module
