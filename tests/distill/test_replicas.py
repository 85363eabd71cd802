"""Two replicas learn what one device learns. In a process of its own: devices are laid out once, before TensorFlow runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json
import numpy as np
import tensorflow as tf

devices = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
from tinybert_tf.bert import BertConfig, build_model, logits_model
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.train.trainer import LabelLoss

SIZES = dict(vocab_size=50, num_attention_heads=2, intermediate_size=16, max_position_embeddings=16,
             hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3, label2id={"a": 0, "b": 1})
random = np.random.default_rng(0)
# The replicas' halves hold unequal numbers of tokens and of weighted rows: means of means would differ.
mask = (np.arange(8) < np.array([8, 7, 8, 6, 2, 3, 2, 2])[:, None]).astype("int32")
features = {"input_word_ids": random.integers(1, 50, (8, 8)).astype("int32") * mask, "input_mask": mask,
            "input_type_ids": np.zeros((8, 8), "int32")}
weight = np.array([1, 1, 1, 1, 1, 1, 0, 0], "float32")
data = tf.data.Dataset.from_tensor_slices((features, np.zeros(8, "int32"), weight)).batch(8)

def compiled(strategy):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        teacher = build_model(BertConfig(num_hidden_layers=2, hidden_size=12, **SIZES), head="classification")
        student = build_model(BertConfig(num_hidden_layers=1, hidden_size=8, **SIZES), head="classification")
        distiller = Distiller(teacher, student, TinyBertObjective(prediction_weight=1.0))
        distiller.compile(optimizer=keras.optimizers.SGD(0.05))
    return distiller

def run(strategy):
    distiller = compiled(strategy)
    student = distiller.student
    logs = distiller.evaluate(data, return_dict=True, verbose=0)
    history = distiller.fit(data, epochs=3, verbose=0).history
    with strategy.scope():
        classifier = logits_model(student)
        classifier.compile(keras.optimizers.SGD(0.05), LabelLoss("classification"), jit_compile=False)
    losses = history["loss"] + classifier.fit(data, epochs=2, verbose=0).history["loss"]
    weights = np.concatenate([np.ravel(w) for w in student.get_weights()])
    return logs, losses, weights

def run_uneven(strategy):
    # A first batch that replicas cannot share equally.
    return compiled(strategy).fit(data.unbatch().batch(3), epochs=2, verbose=0).history["loss"]

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one, many = run(tf.distribute.get_strategy()), run(two)
print(json.dumps({
    "replicas": two.num_replicas_in_sync,
    "logs": [one[0], many[0]],
    "losses": [one[1], many[1]],
    "uneven": [run_uneven(tf.distribute.get_strategy()), run_uneven(two)],
    "weights": float(np.abs(one[2] - many[2]).max()),
}))
"""


def test_two_replicas_equal_one_device():
    repository = Path(__file__).resolve().parents[2]
    environment = os.environ | {
        "PYTHONPATH": str(repository),
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["replicas"] == 2
    one, two = result["logs"]
    assert two == pytest.approx(one, rel=1e-5)
    assert result["losses"][1] == pytest.approx(result["losses"][0], rel=1e-5)
    assert result["uneven"][1] == pytest.approx(result["uneven"][0], rel=1e-5)
    assert result["weights"] < 1e-5
