"""Checks that every public model, layer and optimizer passes, in the manner of KerasHub's test_case.py."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

REPOSITORY = Path(__file__).resolve().parents[1]


def as_numpy(outputs) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(value).astype(np.float64) for value in keras.tree.flatten(outputs)]


def assert_equal_outputs(found, expected, tolerance: float = 1e-6) -> None:
    for one, other in zip(as_numpy(found), as_numpy(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def check_serialization(thing) -> None:
    """The configuration is JSON, and what is made from it has the same one."""
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))
    again = keras.saving.deserialize_keras_object(written)
    assert type(again) is type(thing)
    assert json.dumps(again.get_config()) == json.dumps(thing.get_config())


def check_layer(layer: keras.layers.Layer, *inputs, dtype: str = "mixed_bfloat16") -> None:
    """Serialization, equal outputs after a copy of the weights, shapes as declared, and a dtype policy that arrives."""
    outputs = layer(*inputs)
    check_serialization(layer)
    config = layer.get_config()
    again = type(layer).from_config(config)
    again(*inputs)
    again.set_weights(layer.get_weights())
    assert_equal_outputs(again(*inputs), outputs)
    specs = layer.compute_output_spec(*(keras.KerasTensor(x.shape, str(x.dtype)) for x in inputs))
    for found, declared in zip(keras.tree.flatten(outputs), keras.tree.flatten(specs), strict=True):
        assert tuple(found.shape) == tuple(declared.shape) and found.dtype.name == declared.dtype
    half = type(layer).from_config(config | {"dtype": dtype})
    outputs = keras.tree.flatten(half(*inputs))
    assert {output.dtype.name for output in outputs} == {keras.DTypePolicy(dtype).compute_dtype}


def check_save_and_load(model: keras.Model, features: Mapping, path: Path) -> None:
    """`model.save` and `keras.models.load_model`: type, configuration and outputs come back."""
    model.save(path)
    again = keras.models.load_model(path)
    assert type(again) is type(model)
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    assert_equal_outputs(again(features), model(features))


def check_fit_evaluate_predict(model: keras.Model, features: Mapping, labels=None) -> None:
    """A compiled model trains, is scored and predicts; its loss and its weights are finite."""
    data = features if labels is None else (features, labels)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(3)
    history = model.fit(dataset, epochs=2, verbose=0).history
    scores = model.evaluate(dataset, verbose=0, return_dict=True)
    assert np.isfinite(history["loss"]).all() and np.isfinite(scores["loss"])
    assert history.keys() <= scores.keys() | {"learning_rate"}
    predicted = keras.tree.flatten(model.predict(features, verbose=0))
    assert all(len(values) == len(next(iter(features.values()))) for values in predicted)
    assert all(np.isfinite(values).all() for values in as_numpy(model.trainable_variables))


_FRESH = """
import json, sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

import keras
import tinybert_tf

folder = sys.argv[1]
features = dict(np.load(f"{folder}/features.npz"))
found = {}
for name in sys.argv[2:]:
    model = keras.models.load_model(f"{folder}/{name}.keras")
    outputs = {str(i): np.asarray(x, np.float64) for i, x in enumerate(keras.tree.flatten(model(features)))}
    np.savez(f"{folder}/{name}.outputs.npz", **outputs)
    with mirrored.scope():
        model = keras.models.load_model(f"{folder}/{name}.keras")
    if model.compiled:
        labels = np.load(f"{folder}/{name}.labels.npy")
        data = tf.data.Dataset.from_tensor_slices((features, labels)).batch(4, drop_remainder=True)
        found[name] = model.fit(data, verbose=0).history["loss"]
print(json.dumps(found))
"""


def check_fresh_process(models: Mapping[str, tuple[keras.Model, np.ndarray]], features: Mapping, folder: Path) -> None:
    """Models that are saved here load where only `tinybert_tf` is imported, give the same outputs, and the compiled ones train
    on two replicas with the loss of one device.

    Args:
        models: by name, with labels.
        features: 4 rows.
        folder: for the files.
    """
    np.savez(folder / "features.npz", **features)
    for name, (model, labels) in models.items():
        model.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.labels.npy", labels)
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-c", _FRESH, str(folder), *models]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads(done.stdout.strip().splitlines()[-1])
    for name, (model, labels) in models.items():
        outputs = np.load(folder / f"{name}.outputs.npz")
        assert_equal_outputs([outputs[key] for key in sorted(outputs, key=int)], model(features), 1e-5)
        if model.compiled:
            one = model.evaluate(features, labels, batch_size=4, verbose=0, return_dict=True)["loss"]
            np.testing.assert_allclose(losses[name], [one], rtol=1e-4)
