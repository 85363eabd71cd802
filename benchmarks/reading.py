"""Reading many rows: seconds to tokenize them once, to start again in the middle, and the memory that this takes.

python benchmarks/reading.py [--rows=1000000]

Rows are made up in SST-2's layout, 10,000 of them and then many. Each measurement is a process of its own. A restart is measured
until batch 20,000 is there; it finds the shards of the run before.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from measuring import Measured, report

FLAGS = flags.FLAGS
flags.DEFINE_integer("rows", 1_000_000, "rows of the large set")
flags.DEFINE_integer("few_rows", 10_000, "rows of the small set, whose memory is the reference")
flags.DEFINE_integer("restart", 20_000, "batch that a restart begins with")
flags.DEFINE_string("measure", None, "internal: the folder that a process of its own measures")
BATCH = 32
WORDS = (
    "the film was not good a very long and rather quiet story of two people who never meet in their own town".split()
)


def write_rows(folder: Path, count: int) -> None:
    """SST-2's train.tsv with `count` rows of 3 to 40 words."""
    (folder / "SST-2").mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "SST-2" / "train.tsv").open("w") as file:
        file.write("sentence\tlabel\n")
        for _ in range(count):
            file.write(f"{' '.join(random.choice(WORDS, random.integers(3, 40)))}\t{random.integers(2)}\n")


def measure(folder: Path) -> dict[str, float]:
    """Opens the shards of a folder, making them if there are none, and reads on from a batch."""
    begin = time.perf_counter()
    from tinybert_tf.checkpoints import resolve_directory
    from tinybert_tf.data import Tokenizer, label_ids, load_task
    from tinybert_tf.data.token_shards import open_shards
    from tinybert_tf.files import file_states

    imported = time.perf_counter()
    data = load_task("sst2", folder)
    tokenizer = Tokenizer.from_directory(resolve_directory("minilm_l6"))
    identity = file_states([data.train.source])
    shards = open_shards(
        folder / "cache", data.train, tokenizer, data.task, 64, label_ids(data.task, None), identity=identity
    )
    opened = time.perf_counter()
    steps = shards.count_batches(BATCH, 20)
    batches = iter(shards.batches(BATCH, seed=0, epochs=20, first=min(FLAGS.restart, steps - 1)))
    next(batches)
    first = time.perf_counter()
    for _ in range(200):
        next(batches, None)
    end = time.perf_counter()
    return {
        "import": imported - begin,
        "open": opened - imported,
        "first batch": first - opened,
        "batch": (end - first) / 200,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def in_a_process(folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, f"--measure={folder}", f"--restart={FLAGS.restart}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    del argv
    if FLAGS.measure:
        print(json.dumps(measure(Path(FLAGS.measure))))
        return
    rows, few = [], None
    for count in (FLAGS.few_rows, FLAGS.rows):
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), count)
            for variant in ("tokenized and read", "restarted"):
                got = in_a_process(Path(folder))
                seconds = got["open"] + got["first batch"]
                few = few or got["mb"]
                note = (
                    f"peak {got['mb']:.0f} MB ({got['mb'] - few:+.0f}), {1e3 * got['batch']:.2f} ms a batch of {BATCH}"
                )
                rows.append(Measured(f"{count} rows", variant, count / seconds, "rows", seconds, note=note))
    report("reading", rows)


if __name__ == "__main__":
    app.run(main)
