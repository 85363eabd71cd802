"""Several devices and machines: distribution strategies, and communication between workers."""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import keras
import tensorflow as tf

from tinybert_tf.errors import InputError, LostWorkerError
from tinybert_tf.settings import check_at_least_one, setting

logger = logging.getLogger(__name__)

STRATEGIES = ("one_device", "mirrored", "multi_worker", "tpu", "auto")

STRATEGY_HELP = (
    "one_device, mirrored (all GPUs of this machine), multi_worker (several machines; TF_CONFIG says which), tpu, or auto: "
    "tpu where there is one, multi_worker if TF_CONFIG names several, mirrored if there are several GPUs, else one_device"
)

_TF_CONFIG_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'

# What TensorFlow raises when a peer worker is gone.
_LOST_WORKER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@dataclasses.dataclass(frozen=True)
class DeviceSettings:
    """The devices that a program runs on."""

    strategy: str = setting("one_device", STRATEGY_HELP)
    num_devices: int | None = setting(
        None, "number of devices of strategy mirrored; without GPUs that many logical CPU devices"
    )

    def __post_init__(self):
        check_at_least_one(self, "num_devices")
        if self.num_devices is not None and self.strategy not in ("mirrored", "auto"):
            raise InputError(f"is for `strategy=mirrored`, not for {self.strategy}", "num_devices", self.num_devices)


@contextlib.contextmanager
def distributed(devices: DeviceSettings, train_batch_size: int | None = None) -> Iterator[tf.distribute.Strategy]:
    """The scope of a program's strategy.

    Enter it before anything else uses TensorFlow's devices. Of several workers, number 0 is the chief, which writes for
    all; the lines of the others begin with `worker 1: `. All leave the scope together.

    Args:
        devices: strategy and number of devices.
        train_batch_size: of all replicas together; None for a program that does not train.

    Raises:
        InputError: a strategy that is not available, or a batch that its replicas cannot share equally.
        LostWorkerError: another worker has ended.
    """
    strategy = make_strategy(devices.strategy, devices.num_devices)
    replicas = strategy.num_replicas_in_sync
    if train_batch_size and train_batch_size % replicas:
        raise InputError(
            f"{replicas} replicas cannot share it equally; take a multiple of {replicas}",
            "train_batch_size",
            train_batch_size,
        )
    with strategy.scope(), _prefixed_lines(worker_number()):
        try:
            yield strategy
            any_worker()  # wait for all: a worker that exits while the chief still writes looks like a lost one
        except _LOST_WORKER as error:
            if not several_workers():
                raise
            raise LostWorkerError(
                f"worker {worker_number()}: another worker has ended or cannot be reached; start the same command on all "
                f"of them again to resume from the last checkpoint ({first_line(error)})"
            ) from None


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the names that TensorFlow puts before it."""
    message = str(error).strip() or type(error).__name__
    return message.splitlines()[0].rsplit("}} ")[-1]


@functools.cache
def make_strategy(name: str = "one_device", num_devices: int | None = None) -> tf.distribute.Strategy:
    """The strategy of a name: the same object each time, since a second one in a process would reuse the first one's
    collective keys.

    Args:
        name: one of `STRATEGIES`; see `STRATEGY_HELP`.
        num_devices: of "mirrored": how many GPUs, by default all. Without a GPU, that many logical devices of the CPU.

    Raises:
        InputError: an unknown name, more devices than there are, no TPU, or a TF_CONFIG that names no workers.
    """
    if name not in STRATEGIES:
        raise InputError(f"must be one of {', '.join(STRATEGIES)}", "strategy", name)
    if name == "auto":
        name = best_strategy()
        if num_devices is not None and name != "mirrored":
            raise InputError(
                f"is for `strategy=mirrored`, and auto chooses {name} on this machine; give the strategy",
                "num_devices",
                num_devices,
            )
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
            raise InputError(
                f"no TPU can be reached ({first_line(error)}); set TPU_NAME, or take another strategy", "strategy", name
            ) from None
        return tf.distribute.TPUStrategy(resolver)
    if name == "multi_worker":
        workers = _workers()
        if not workers:
            raise InputError(
                f"TF_CONFIG is not set; set it on each worker, as in {_TF_CONFIG_EXAMPLE}", "strategy", name
            )
        logger.info("waiting for all %d workers: %s", len(workers), ", ".join(workers))
        return tf.distribute.MultiWorkerMirroredStrategy()
    return _mirrored(num_devices) if name == "mirrored" else tf.distribute.get_strategy()


def best_strategy() -> str:
    """The strategy that "auto" chooses on this machine."""
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if len(_workers()) > 1:
        return "multi_worker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"


def _mirrored(num_devices: int | None) -> tf.distribute.Strategy:
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        if num_devices and num_devices > gpus:
            raise InputError(f"the machine has {gpus} GPUs", "num_devices", num_devices)
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(num_devices or gpus)])
    count = num_devices or 1
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])


def _workers() -> list[str]:
    """The addresses in TF_CONFIG, the chief first; empty if it is not set."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return []
    try:
        config = json.loads(text)
        addresses = {job: list(config["cluster"].get(job, [])) for job in ("chief", "worker")}
        job, index = config["task"]["type"], int(config["task"]["index"])
        addresses[job][index]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"TF_CONFIG={text}: does not name this process as chief or worker ({type(error).__name__}: {error}); it looks "
            f"like {_TF_CONFIG_EXAMPLE}"
        ) from None
    return addresses["chief"] + addresses["worker"]


def several_workers() -> bool:
    """Whether the current strategy has more than one process."""
    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and len(_workers()) > 1


def worker_number() -> int:
    """The number of this process among the workers of the current strategy; 0 is the chief."""
    if not several_workers():
        return 0
    resolver = tf.distribute.get_strategy().cluster_resolver
    before = resolver.cluster_spec().num_tasks("chief") if "chief" in resolver.cluster_spec().jobs else 0
    return resolver.task_id + (before if resolver.task_type == "worker" else 0)


def is_chief() -> bool:
    """Whether this process is the one that writes."""
    return worker_number() == 0


def any_worker(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is set on any worker. All workers have to call this and get the same answer."""
    if not several_workers():
        return flags
    votes = _sum_over_workers(tf.constant([0.0, *map(float, flags)]))
    return tuple(bool(count > 0) for count in votes.numpy()[1:])


def copy_from_chief(variables: list[keras.Variable]) -> None:
    """Copies weights from the chief: weights that each worker computed may differ in the last digits."""
    if not several_workers():
        return
    own = [tf.reshape(tf.cast(variable, tf.float32), [-1]) for variable in variables]
    own = tf.concat(own, axis=0) if worker_number() == 0 else tf.zeros(sum(map(tf.size, own)))
    values = _sum_over_workers(own) / len(tf.distribute.get_strategy().extended.worker_devices)
    sizes = [int(tf.size(variable)) for variable in variables]
    for variable, value in zip(variables, tf.split(values, sizes), strict=True):
        variable.assign(tf.cast(tf.reshape(value, variable.shape), variable.dtype))


def all_reduce_sum(values):
    """Tensors summed over all replicas: counts, so that each replica divides by the global batch's; or gradients."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


@tf.function(autograph=False)
def _sum_over_workers(value: tf.Tensor) -> tf.Tensor:
    """The sum over all replicas of their workers' values."""
    strategy = tf.distribute.get_strategy()
    add = lambda own: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))
    return strategy.experimental_local_results(strategy.run(add, args=(value,)))[0]


def replica_slice(batch_size: int, number: int, count: int) -> slice:
    """The rows of a batch that go to reader `number` of `count`: equal parts, one after the other."""
    rows = batch_size // count
    return slice(number * rows, (number + 1) * rows)


def sharded(batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Distributes global batches: the first replica gets the first rows, and so on, none twice.

    Every worker reads all batches, which are equal because of equal seeds, and takes its own rows.

    Args:
        batches: of nested tensors [batch_size, ...].
        batch_size: a multiple of the number of replicas.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return batches

    def for_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = replica_slice(batch_size, context.input_pipeline_id, context.num_input_pipelines)
        own_rows = lambda *batch: tf.nest.map_structure(lambda tensor: tensor[own], batch)
        return batches.map(own_rows, tf.data.AUTOTUNE).rebatch(batch_size // context.num_replicas_in_sync)

    return strategy.distribute_datasets_from_function(for_worker)


def round_up_to_replicas(batch_size: int) -> int:
    """The next larger number of rows that all replicas can share equally."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return -(-batch_size // replicas) * replicas


def on_all_replicas(function: Callable[[Any], tf.Tensor], signature: Any = None) -> Callable[[Any], tf.Tensor]:
    """`function` as a graph, each replica computing its rows of a batch; every worker gets the rows of all.

    Args:
        function: nested tensors [rows, ...] -> a tensor [rows, ...].
        signature: of its argument; by default graphs are traced on demand.

    Returns:
        the same function of a batch that every worker has as a whole, whose number of rows is one of `round_up_to_replicas`.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync

    def of_this_replica(batch):
        number = tf.distribute.get_replica_context().replica_id_in_sync_group

        own_rows = lambda tensor: tensor[replica_slice(tf.shape(tensor)[0], number, replicas)]
        return function(tf.nest.map_structure(own_rows, batch))

    def of_all(batch):
        return strategy.gather(strategy.run(of_this_replica, args=(batch,)), axis=0)

    options = {"reduce_retracing": True} if signature is None else {"input_signature": [signature]}
    return tf.function(function if replicas == 1 else of_all, autograph=False, **options)


def prepare_for_fit(model: keras.Model) -> None:
    """Works around failures of Keras 3.15's `fit` under a strategy, for one compiled model."""
    # It would draw a batch to build the model, which advances the shuffle's seeds and fails with several workers.
    model._maybe_symbolic_build = lambda **_: None
    if several_workers():
        # It averages the workers' logs over their first axis, which a scalar does not have.
        train_step = model.train_step
        model.train_step = lambda data: logs_per_worker(train_step(data))


def logs_per_worker(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A step's logs for Keras 3.15, which averages them over workers along an axis that scalars get here."""
    return {name: tf.reshape(value, [1]) for name, value in logs.items()} if several_workers() else logs


@contextlib.contextmanager
def _prefixed_lines(worker: int) -> Iterator[None]:
    """Prefixes output and log lines of all workers but the chief with the worker's number."""
    if worker == 0:
        yield
        return
    stream, prefixed = sys.stdout, _Prefixed(sys.stdout, f"worker {worker}: ")
    loggers = (logging.getLogger(), logging.getLogger("tinybert_tf"))
    handlers = [handler for each in loggers for handler in each.handlers if getattr(handler, "stream", None) is stream]
    for handler in handlers:
        handler.setStream(prefixed)
    try:
        with contextlib.redirect_stdout(prefixed):
            yield
    finally:
        for handler in handlers:
            handler.setStream(stream)


class _Prefixed:
    """A text stream whose lines begin with `prefix`."""

    def __init__(self, stream: TextIO, prefix: str):
        self._stream, self._prefix, self._at_line_start = stream, prefix, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._stream.write(self._prefix + line if self._at_line_start else line)
            self._at_line_start = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
