"""One intermediate distillation step against the machine's own peak, and length buckets against full padding.

python benchmarks/distill_step.py                    BERT_BASE -> TinyBERT4, batch 8, length 128
python benchmarks/distill_step.py --data_dir=GLUE    also SST-2's real text, in buckets and padded to 64

Every figure of a table is measured in this one run, in turn, so that the ratios hold on a machine that is shared.
"""

import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tensorflow as tf
from absl import app, flags

from tinybert_tf.bert import BertConfig, build_model, encoder_flops
from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.data import Tokenizer, batches, load_task
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.train.optimizer import bert_adamw

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder of GLUE files; absent: no bucket table")
flags.DEFINE_string("vocab", None, "vocab.txt for the bucket table; absent: that of the preset minilm_l6")
flags.DEFINE_integer("rounds", 8, "measurements of each, in turn")
BATCH, LENGTH = 8, 128


def matmul_peak(dtype: str):
    """A function that makes 2048 x 2048 products, and their GFLOP."""
    a = tf.cast(tf.random.normal((2048, 2048)), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(tf.matmul(a, a), tf.float32)))
    return product, 2 * 2048**3 / 1e9


def distill_step(teacher_dtype: str):
    """A function that makes one training step on a random batch."""
    teacher = build_model(BertConfig.named("bert_base"), dtype=teacher_dtype)
    distiller = Distiller(teacher, build_model(BertConfig.named("tinybert4")), TinyBertObjective.intermediate())
    distiller.compile(bert_adamw(5e-5, 1000))
    features = {
        "input_word_ids": tf.random.uniform((BATCH, LENGTH), 1000, 30000, tf.int32),
        "input_mask": tf.ones((BATCH, LENGTH), tf.int32),
        "input_type_ids": tf.zeros((BATCH, LENGTH), tf.int32),
    }
    return tf.function(lambda: distiller.train_step((features,))["loss"])


def step_gflop() -> float:
    """The teacher's forward pass, and three times the student's (forward, and both gradients), with the projections."""
    teacher, student = BertConfig.named("bert_base"), BertConfig.named("tinybert4")
    projections = 2 * LENGTH * (student.num_hidden_layers + 1) * student.hidden_size * teacher.hidden_size
    return BATCH * (encoder_flops(teacher, LENGTH) + 3 * (encoder_flops(student, LENGTH) + projections)) / 1e9


def medians(functions: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turn."""
    times = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            float(function())
            if number >= 2:  # the first calls trace and warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def step_table() -> None:
    peak, product_gflop = matmul_peak("float32")
    functions = {
        "peak": peak,
        "peak bfloat16": matmul_peak("bfloat16")[0],
        "float32": distill_step("float32"),
        "bfloat16": distill_step("bfloat16"),
    }
    seconds, gflop = medians(functions, FLAGS.rounds), step_gflop()
    peaks = {name: product_gflop / seconds[name] for name in ("peak", "peak bfloat16")}
    print(f"BERT_BASE -> TinyBERT4, intermediate step, batch {BATCH}, length {LENGTH}: {gflop:.0f} GFLOP")
    print(f"matrix products, 2048 x 2048: float32 {peaks['peak']:.0f}, bfloat16 {peaks['peak bfloat16']:.0f} GFLOP/s")
    print(f"{'teacher':10}{'ms':>8}{'examples/s':>12}{'GFLOP/s':>9}{'of float32 peak':>17}")
    for name in ("float32", "bfloat16"):
        rate = gflop / seconds[name]
        share = rate / peaks["peak"]
        print(f"{name:10}{1e3 * seconds[name]:8.0f}{BATCH / seconds[name]:12.1f}{rate:9.0f}{share:17.0%}")


def bucket_table() -> None:
    """Examples/s over SST-2's first rows, MiniLM -> TinyBERT4, tokenizing included."""
    data = load_task("sst2", FLAGS.data_dir)
    tokenizer = Tokenizer(FLAGS.vocab) if FLAGS.vocab else Tokenizer.from_directory(resolve_directory("minilm_l6"))
    teacher = build_model(BertConfig.named("minilm_l6"), dtype="bfloat16")
    distiller = Distiller(teacher, build_model(BertConfig.named("tinybert4")), TinyBertObjective.intermediate())
    distiller.compile(bert_adamw(5e-5, 1000))
    step = tf.function(lambda *batch: distiller.train_step(batch)["loss"], reduce_retracing=True)
    all_rows, rates = 4096, {"padded to 64": [], "length buckets": []}
    for number in range(3):
        rows = all_rows if number else 256  # the first pass traces
        for name, buckets in (("padded to 64", (64,)), ("length buckets", None)):
            split = data.train.limit(rows)
            dataset = batches(split, tokenizer, data.task, batch_size=32, shuffle_seed=number, buckets=buckets)
            start = time.perf_counter()
            for batch in dataset:
                step(*batch)
            if number:
                rates[name].append(rows / (time.perf_counter() - start))
    print(f"SST-2, first {all_rows} rows, MiniLM (bfloat16) -> TinyBERT4, batch 32")
    for name, values in rates.items():
        print(f"{name:16}{statistics.median(values):8.0f} examples/s")
    print(f"ratio {statistics.median(rates['length buckets']) / statistics.median(rates['padded to 64']):.2f}")


def main(argv: list[str]) -> None:
    del argv
    step_table()
    if FLAGS.data_dir:
        bucket_table()


if __name__ == "__main__":
    app.run(main)
