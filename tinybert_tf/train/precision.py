"""Dtype policies of students and teachers."""

import dataclasses
import logging
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.distribution import all_reduce_sum, several_workers
from tinybert_tf.errors import InputError

logger = logging.getLogger(__name__)

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16", "auto")
TEACHER_DTYPES = (*DTYPES, "bfloat16")

DTYPE_HELP = (
    "float32, mixed_bfloat16, mixed_float16 (with loss scaling) or auto: mixed_bfloat16 where the hardware has bfloat16 "
    "products, mixed_float16 on older GPUs, else float32. Weights are kept and saved in float32"
)
TEACHER_DTYPE_HELP = (
    "float32, bfloat16, mixed_bfloat16, mixed_float16, or auto: bfloat16 where the hardware has it, else float32"
)

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")
# The first NVIDIA GPUs with bfloat16 products.
_BFLOAT16_CAPABILITY = (8, 0)


@dataclasses.dataclass(frozen=True)
class Precision:
    """Keras dtype policies of a run.

    Attributes:
        dtype: of the network that is trained.
        teacher_dtype: of the frozen teacher; None where there is none.
    """

    dtype: str
    teacher_dtype: str | None = None

    @classmethod
    def of(cls, recorded: dict[str, str], dtype: str, teacher_dtype: str | None = None) -> "Precision":
        """The policies that two settings resolve to on this machine.

        Args:
            recorded: what the run that is resumed recorded, which it keeps on any machine; empty for a new run.
            dtype: one of `DTYPES`.
            teacher_dtype: one of `TEACHER_DTYPES`, or None without a teacher.

        Raises:
            InputError: an unknown name.
        """
        if recorded.get("dtype"):
            return cls(recorded["dtype"], recorded["teacher_dtype"])
        return cls(training_dtype(dtype), None if teacher_dtype is None else frozen_dtype(teacher_dtype))

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
        """The optimizer with loss scaling where `dtype` needs it: float16 gradients underflow without."""
        return LossScaling(optimizer) if self.dtype == "mixed_float16" else optimizer


class LossScaling(keras.optimizers.LossScaleOptimizer):
    """Dynamic loss scaling whose replicas skip a step together: `AdamW` sums their gradients only after this check."""

    def check_finite(self, grads):
        own = super().check_finite(grads)
        return tf.equal(all_reduce_sum(1.0 - tf.cast(own, tf.float32)), 0.0)


def training_dtype(name: str) -> str:
    """The Keras dtype policy that `dtype` resolves to on this hardware.

    Raises:
        InputError: a name that is not in `DTYPES`.
    """
    if name not in DTYPES:
        raise InputError(f"must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}", "dtype", name)
    if name == "mixed_bfloat16":
        return name if _has_bfloat16(name) else "float32"
    if name != "auto":
        return name
    if has_bfloat16_products():
        return "mixed_bfloat16"
    if tf.config.list_physical_devices("GPU"):
        return "mixed_float16"
    logger.info("dtype: the processor has no bfloat16 products (%s); training in float32", ", ".join(_CPU_FLAGS))
    return "float32"


def frozen_dtype(name: str) -> str:
    """The Keras dtype policy that `teacher_dtype` resolves to on this hardware.

    Measured with a BERT_BASE teacher on a CPU with avx512_bf16: 1.26 times the steps per second of float32.

    Several workers cannot pass each other variables in bfloat16, as they do when they create them: their variables are
    float32, and the products are in bfloat16 all the same.

    Raises:
        InputError: a name that is not in `TEACHER_DTYPES`.
    """
    if name not in TEACHER_DTYPES:
        raise InputError(f"must be {', '.join(TEACHER_DTYPES[:-1])} or {TEACHER_DTYPES[-1]}", "teacher_dtype", name)
    if name == "auto":
        name = "bfloat16" if has_bfloat16_products() else "float32"
    elif "bfloat16" in name and not _has_bfloat16(name):
        name = "float32"
    return "mixed_bfloat16" if name == "bfloat16" and several_workers() else name


def has_bfloat16_products() -> bool:
    """Whether the accelerator, or else the processor, multiplies bfloat16 faster than float32."""
    if tf.config.list_logical_devices("TPU"):
        return True
    if gpus := tf.config.list_physical_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(gpu.get("compute_capability", _BFLOAT16_CAPABILITY) >= _BFLOAT16_CAPABILITY for gpu in details)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return any(flag in flags for flag in _CPU_FLAGS)


def _has_bfloat16(name: str) -> bool:
    """`has_bfloat16_products`; logs a warning if not."""
    found = has_bfloat16_products()
    if not found:
        logger.warning("%s: the hardware has no bfloat16 products; float32 is used instead", name)
    return found
