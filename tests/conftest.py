"""What every test shares: a quiet TensorFlow, Keras on TensorFlow, a seed, and real data where there is some."""

import os

# Before anything imports TensorFlow or Keras: both read these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import random
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of the whole run; TINYBERT_SEED=7 tries another."""
    return int(os.environ.get("TINYBERT_SEED", "0"))


@pytest.fixture(autouse=True)
def _seeded(seed):
    """Each test starts from the seed, so that its result does not depend on the tests before it or on the worker."""
    random.seed(seed)
    np.random.seed(seed)
    # Only where a test file has imported Keras: importing it here would cost the small tests six seconds a worker.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(seed)


@pytest.fixture
def eagerly(request):
    """Runs operation by operation what Keras and TensorFlow would compile: tracing a step of a small network takes seconds, the
    step itself a tenth of one. Not for tests about compiled steps or replicas, nor for those with the mark `compiled`.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(request.node.get_closest_marker("compiled") is None)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real files (glue/, squad/, corpus/, glove/, vocab.txt), or a skip."""
    named = os.environ.get("TINYBERT_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "vocab.txt").is_file():
        where = "$TINYBERT_DATA" if named else "../shared/data"
        pytest.skip(
            f"no real data: {where} has no vocab.txt; set TINYBERT_DATA to a folder that holds glue/, squad/, corpus/"
        )
    return folder
