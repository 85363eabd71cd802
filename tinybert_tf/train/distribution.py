"""The strategies that programs train under."""

import tensorflow as tf

from tinybert_tf.errors import InputError

STRATEGIES = ("one_device", "mirrored", "tpu")


def make_strategy(name: str = "one_device", num_devices: int | None = None) -> tf.distribute.Strategy:
    """The strategy of `--strategy`; call it before anything else touches TensorFlow's devices.

    Args:
        name: "one_device", "mirrored" or "tpu".
        num_devices: of "mirrored": how many GPUs, by default all. Without a GPU, that many logical devices of the CPU.

    Raises:
        InputError: an unknown name, or more devices than there are.
    """
    if name not in STRATEGIES:
        raise InputError(f"--strategy={name}: must be one of {', '.join(STRATEGIES)}")
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        if num_devices and num_devices > gpus:
            raise InputError(f"--num_devices={num_devices}: there are {gpus} GPUs")
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(num_devices or gpus)])
    count = num_devices or 1
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])
