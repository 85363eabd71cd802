"""Which strategy a program runs under, and which rows each of its replicas gets."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tinybert_tf.distribution import (
    DeviceSettings,
    best_strategy,
    first_line,
    make_strategy,
    on_all_replicas,
    replica_slice,
    round_up_to_replicas,
    sharded,
)
from tinybert_tf.errors import InputError


@pytest.mark.parametrize("batch_size, workers, replicas", [(12, 2, 4), (12, 3, 3), (1024, 1024, 1024)])
def test_every_row_goes_to_one_replica(monkeypatch, batch_size, workers, replicas):
    """The shares of all workers, one beside the other, are the batch. Only what TensorFlow says of the cluster is made up."""
    cluster = SimpleNamespace(
        num_replicas_in_sync=replicas, distribute_datasets_from_function=lambda function: function
    )
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: cluster)
    rows = np.arange(3 * batch_size, dtype=np.int32)
    batches = tf.data.Dataset.from_tensor_slices(({"ids": rows}, rows)).batch(batch_size)
    of_worker = sharded(batches, batch_size)
    for worker in {0, 1, workers // 2, workers - 1}:
        parts = list(of_worker(tf.distribute.InputContext(workers, worker, replicas)))
        assert {len(features["ids"]) for features, _ in parts} == {batch_size // replicas}
        given = np.concatenate([label for _, label in parts]).reshape(3, -1)
        np.testing.assert_array_equal(given, rows.reshape(3, batch_size)[:, replica_slice(batch_size, worker, workers)])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "TF_CONFIG is not set; set it on each worker"),
        ("{", "TF_CONFIG={: does not name this process as chief or worker"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "IndexError"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "KeyError: 'ps'"),
    ],
)
def test_a_cluster_that_is_not_one_is_refused(monkeypatch, config, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=re.escape(message)):
        make_strategy("multi_worker")


def test_auto_takes_what_there_is(monkeypatch):
    devices = {"GPU": [], "TPU": []}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices[kind])
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert best_strategy() == "one_device"
    devices["GPU"] = ["GPU:0", "GPU:1"]
    assert best_strategy() == "mirrored"
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}')
    assert best_strategy() == "multi_worker"
    devices["TPU"] = ["TPU:0"]
    assert best_strategy() == "tpu"


def test_on_one_device_a_function_gets_the_whole_batch():
    double = on_all_replicas(lambda batch: 2 * batch["a"], {"a": tf.TensorSpec([None, None], tf.int32)})
    np.testing.assert_array_equal(double({"a": tf.constant([[1, 2], [3, 4]])}), [[2, 4], [6, 8]])
    assert round_up_to_replicas(7) == 7


def test_a_machine_without_a_tpu_says_so_in_one_line(monkeypatch):
    def connect():
        raise ValueError("Please provide a TPU Name to connect to.")

    monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect)
    with pytest.raises(InputError, match="strategy=tpu: no TPU can be reached .*TPU Name.*set TPU_NAME"):
        make_strategy("tpu")


def test_an_error_that_says_nothing_is_called_by_its_kind():
    assert first_line(MemoryError()) == "MemoryError"
    assert first_line(ValueError("{{node a}} the line\nits cause")) == "the line"


def test_a_number_of_devices_is_for_mirrored_alone(monkeypatch):
    monkeypatch.setattr("tinybert_tf.distribution.best_strategy", lambda: "one_device")
    with pytest.raises(InputError, match="num_devices=3: is for `strategy=mirrored`, and auto chooses one_device"):
        make_strategy("auto", 3)
    with pytest.raises(InputError, match="num_devices=2: is for `strategy=mirrored`, not for one_device"):
        DeviceSettings(num_devices=2)
    assert DeviceSettings("mirrored", 2).num_devices == 2
