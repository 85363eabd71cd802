"""The best settings of distillation on a GPU, in under five minutes: dtypes, batch sizes, lengths; step, memory, examples/s.

python benchmarks/gpu.py [--minutes=5]

BERT_BASE -> TinyBERT4, intermediate stage, random full batches. XLA compiles each shape once, before it is measured. Ends with
the flags of the fastest settings. Not tried on a GPU by its authors.
"""

import sys
import time

from absl import app, flags
from measuring import Measured, report
from models import distiller, full_batch, step_gflop

FLAGS = flags.FLAGS
flags.DEFINE_float("minutes", 5.0, "no further measurement is begun after this time")
flags.DEFINE_boolean("cpu", False, "measure on the CPU, with XLA, small shapes: a rehearsal")
DTYPES = (("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("mixed_float16", "mixed_float16"))
STEPS = 10


def measure(dtypes: tuple[str, str], batch: int, length: int, device: str) -> Measured:
    """One setting: seconds of a step, the largest memory, GFLOP/s."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    model = distiller("intermediate", *dtypes)
    data = full_batch(batch, length)
    step = tf.function(lambda *batch: model.train_step(batch)["loss"], jit_compile=True)
    compiled = time.perf_counter()
    step(*data).numpy()
    compiled = time.perf_counter() - compiled
    if device == "GPU:0":
        tf.config.experimental.reset_memory_stats(device)
    begin = time.perf_counter()
    for _ in range(STEPS):
        loss = step(*data)
    loss.numpy()
    seconds = (time.perf_counter() - begin) / STEPS
    memory = tf.config.experimental.get_memory_info(device)["peak"] / 1e9 if device == "GPU:0" else 0.0
    gflop = sum(step_gflop("intermediate", batch * length, length))
    note = (
        f"batch {batch}, length {length}, {gflop / seconds:.0f} GFLOP/s, {memory:.1f} GB, compiled in {compiled:.0f} s"
    )
    return Measured(
        f"length {length}",
        f"teacher {dtypes[0]}, student {dtypes[1]}, batch {batch}",
        batch / seconds,
        "examples",
        seconds,
        note=note,
    )


def main(argv: list[str]) -> int:
    del argv
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and not FLAGS.cpu:
        print("benchmarks/gpu.py: TensorFlow sees no GPU here; --cpu rehearses on the CPU", file=sys.stderr)
        return 1
    device, batches, lengths = ("GPU:0", (32, 128, 512), (64, 128)) if gpus else ("CPU:0", (2,), (16,))
    if gpus:
        print(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    rows, end = [], time.perf_counter() + 60 * FLAGS.minutes
    for length in lengths:
        for dtypes in DTYPES if gpus else DTYPES[:2]:
            for batch in batches:
                if time.perf_counter() > end:
                    break
                try:
                    rows.append(measure(dtypes, batch, length, device))
                except tf.errors.ResourceExhaustedError:
                    print(f"batch {batch}, length {length}, {dtypes}: more memory than there is")
    if not rows:
        print("benchmarks/gpu.py: nothing was measured: too little memory or too few --minutes", file=sys.stderr)
        return 1
    report("gpu" if gpus else "gpu_rehearsal", rows)
    best = max(rows, key=lambda row: row.rate * float(row.case.split()[1]))
    teacher, student, batch = (part.split()[-1] for part in best.variant.split(", "))
    print(f"fastest: --teacher_dtype={teacher} --dtype={student} --train_batch_size={batch} --buckets=auto")
    return 0


if __name__ == "__main__":
    app.run(main)
