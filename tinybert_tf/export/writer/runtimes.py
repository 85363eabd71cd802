"""The first TensorFlow Lite version that runs a file, derived from the file's operators.

A runtime refuses an operator of a higher version than its own kernel has. `FIRST_RUNTIMES` lists every operator in every
version that this package writes. Versions are those of TensorFlow Lite, which LiteRT continues; TensorFlow keeps a table
of the same kind (tensorflow/lite/tools/versioning/runtime_version.cc). This one holds what benchmarks/clients.py saw run:
its oldest runtime is 2.8.0, so that everything older reads 2.8.0, GELU among it, which TensorFlow's table dates to 2.9.
"""

from collections.abc import Iterable

FIRST_RUNTIMES = {
    ("ADD", 1): "2.8.0",
    ("BATCH_MATMUL", 1): "2.8.0",
    ("BATCH_MATMUL", 2): "2.8.0",  # int8
    ("CAST", 1): "2.8.0",
    ("CONCATENATION", 1): "2.8.0",  # of a BiLSTM, as LOGISTIC: neither was tried on an old runtime
    ("DEQUANTIZE", 2): "2.8.0",  # int8
    ("DEQUANTIZE", 3): "2.8.0",  # float16, int16
    ("DEQUANTIZE", 6): "2.18.0",  # int4
    ("FULLY_CONNECTED", 1): "2.8.0",
    ("FULLY_CONNECTED", 6): "2.8.0",  # without a bias
    ("FULLY_CONNECTED", 9): "2.8.0",  # float32 activations, integer weights of one scale
    ("FULLY_CONNECTED", 10): "2.14.0",  # int8 -> int8, a scale for each output; 2.12 refuses it, 2.13 was not tried
    ("FULLY_CONNECTED", 12): "2.17.0",  # the same with a scale for each output
    ("GATHER", 1): "2.8.0",
    ("GATHER", 2): "2.8.0",  # int8
    ("GATHER", 4): "2.8.0",  # int16
    ("GATHER", 7): "2.18.0",  # int4
    ("GELU", 1): "2.8.0",
    ("LOGISTIC", 1): "2.8.0",
    ("MAXIMUM", 1): "2.8.0",  # of a coded word table, whose int4 rows ask for more
    ("MEAN", 1): "2.8.0",
    ("MUL", 1): "2.8.0",
    ("QUANTIZE", 1): "2.8.0",
    ("RELU", 1): "2.8.0",
    ("RESHAPE", 1): "2.8.0",
    ("RSQRT", 1): "2.8.0",
    ("SLICE", 1): "2.8.0",
    ("SOFTMAX", 1): "2.8.0",
    ("SPLIT", 1): "2.8.0",
    ("SUB", 1): "2.8.0",
    ("SUM", 1): "2.8.0",
    ("TANH", 1): "2.8.0",
    ("TRANSPOSE", 1): "2.8.0",
}


def latest(versions: Iterable[str]) -> str:
    """The highest of some versions "major.minor.patch"."""
    return max(versions, key=lambda version: [int(number) for number in version.split(".")])
