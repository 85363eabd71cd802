"""Two processes under a user's own MultiWorkerMirroredStrategy: plain compile, fit and evaluate, equal weights at the end."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()

import keras
import tinybert_tf as tb

keras.utils.set_random_seed(0)
sizes = dict(vocab_size=30, num_attention_heads=2, intermediate_size=16, label2id={"a": 0, "b": 1})
with strategy.scope():
    teacher = tb.build_model(tb.BertConfig(num_hidden_layers=2, hidden_size=12, **sizes), head="classification")
    student = tb.build_model(tb.BertConfig(num_hidden_layers=1, hidden_size=8, **sizes), head="classification")
    distiller = tb.Distiller(teacher, student, tb.TinyBertObjective(prediction_weight=1.0))
    distiller.compile(tb.bert_adamw(1e-2, 10), weighted_metrics=["accuracy"])
ids = np.random.default_rng(0).integers(1, 30, (8, 5)).astype("int32")
features = {"input_word_ids": ids, "input_mask": np.ones_like(ids), "input_type_ids": np.zeros_like(ids)}
data = tf.data.Dataset.from_tensor_slices((features, np.zeros(8, "int32"), np.ones(8, "float32"))).batch(4).repeat(3)
history = distiller.fit(data, steps_per_epoch=3, epochs=2, verbose=0).history
scores = distiller.evaluate(data, steps=2, verbose=0, return_dict=True)
weights = [float(np.sum(np.asarray(w, np.float64))) for w in student.trainable_variables]
print(json.dumps({"loss": history["loss"], "scores": {k: float(v) for k, v in scores.items()}, "weights": weights}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_workers_train_by_the_plain_calls():
    cluster = {"worker": [f"localhost:{free_port()}" for _ in range(2)]}
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    workers = []
    for index in range(2):
        config = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        command = [sys.executable, "-c", PROGRAM]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, env=environment | config, **pipes))
    results = []
    for worker in workers:
        stdout, stderr = worker.communicate(timeout=600)
        assert worker.returncode == 0, stderr[-3000:]
        results.append(json.loads(stdout.strip().splitlines()[-1]))
    one, other = results
    assert one["weights"] == pytest.approx(other["weights"], rel=1e-6)
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-6) and one["loss"][1] < one["loss"][0]
    assert one["scores"].keys() >= {"loss", "accuracy", "attention_loss"}
