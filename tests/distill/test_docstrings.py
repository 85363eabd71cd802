"""The examples in the docstrings of the public names run."""

import doctest

import pytest

from tinybert_tf.bert import model
from tinybert_tf.distill import distiller, initialization, layer_map, losses, objectives
from tinybert_tf.train import optimizer

MODULES = [model, distiller, initialization, losses, objectives, optimizer]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_the_example_of_layer_map_runs():
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(layer_map, "layer_map", globs={"layer_map": layer_map}):
        runner.run(test)
    assert runner.summarize().failed == 0
