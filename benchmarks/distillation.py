"""Distilling BERT_BASE into TinyBERT4: our step beside the plain PyTorch loop and beside the machine's peak.

python benchmarks/distillation.py                    full batches of 8 x 128, and the prediction stage
python benchmarks/distillation.py --data_dir=GLUE    also SST-2's and MRPC's real text
python benchmarks/distillation.py --text=FILE        also general distillation

The PyTorch loop pads to the paper's length of the task, as the published code does; ours reads shards in length buckets. Without
PyTorch our float32 step is the reference. Weights are random: a step costs the same with any.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags
from measuring import Measured, compared, gflops, in_turn, product_peaks, report, without_peaks
from models import (
    LOOP,
    arrays_of,
    distiller,
    full_batch,
    full_shards,
    pytorch_training,
    step_gflop,
    step_of,
    text_shards,
)

from tinybert_tf.data.token_shards import TokenShards
from tinybert_tf.train.teacher_cache import TeacherCache

FLAGS = flags.FLAGS
flags.DEFINE_string("text", None, "plain text; absent: no general distillation")
flags.DEFINE_integer("batches", 24, "of real text, in a round of ours")
flags.DEFINE_integer(
    "reference_batches", 2, "of real text, in a round of the PyTorch loop, whose batches all cost the same"
)
flags.DEFINE_list("stages", ["intermediate", "prediction"], "intermediate, prediction")

TEXT_BATCH, FULL_BATCH, FULL_LENGTH = 32, 8, 128
# Batches in a round of full ones whose teacher is read from disk: one is too short to time with its reading.
FULL_FROM_DISK = 8
FROM_DISK_NOTE = "from the second pass on"
# Variant -> dtypes of teacher and student.
PRECISIONS = {
    "ours, float32": ("float32", "float32"),
    "ours, bfloat16 teacher": ("bfloat16", "float32"),
    "ours, mixed_bfloat16": ("bfloat16", "mixed_bfloat16"),
}


def least_seconds(gflop: tuple[float, float], peaks: dict[str, float]) -> dict[str, float]:
    """What a step of each variant would take at the peaks of its dtypes."""
    return {
        name: sum(
            work / peaks["bfloat16" if "bfloat16" in dtype else "float32"]
            for work, dtype in zip(gflop, dtypes, strict=True)
        )
        for name, dtypes in PRECISIONS.items()
    }


def full_table(stage: str, folder: str) -> list[Measured]:
    batch = full_batch(FULL_BATCH, FULL_LENGTH)
    functions = product_peaks()
    if (loop := pytorch_training(stage, FLAGS.student, FLAGS.teacher)) is not None:
        functions[LOOP] = lambda: loop.step(*arrays_of(batch))
    for name, dtypes in PRECISIONS.items():
        step = step_of(distiller(stage, *dtypes))
        functions[name] = lambda step=step: step(batch)
    work = dict.fromkeys([*functions, LOOP], FULL_BATCH)
    from_disk = f"{name}, its teacher from disk"
    shards = full_shards(folder, FULL_BATCH * FULL_FROM_DISK, FULL_LENGTH)
    functions[from_disk] = passes_from_disk(stage, folder, shards, dtypes, FULL_BATCH, FULL_FROM_DISK)
    work[from_disk] = FULL_BATCH * FULL_FROM_DISK
    seconds = in_turn(functions, FLAGS.rounds, warm_up=2)
    peaks = gflops(seconds)
    gflop = step_gflop(stage, FULL_BATCH * FULL_LENGTH, FULL_LENGTH)
    print(f"products of 2048 x 2048: {', '.join(f'{name} {rate:.0f} GFLOP/s' for name, rate in peaks.items())}")
    print(
        f"a {stage} step of {FULL_BATCH} x {FULL_LENGTH}: {sum(gflop):.0f} GFLOP, of them the teacher's {gflop[0]:.0f}"
    )
    case = f"{stage}, full batches of {FULL_BATCH} x {FULL_LENGTH}"
    reference = LOOP if loop is not None else "ours, float32"
    least = least_seconds(gflop, peaks)
    notes = {from_disk: FROM_DISK_NOTE}
    return compared(case, without_peaks(seconds), work, "examples", reference, least, notes)


def text_table(stage: str, task: str, folder: str) -> list[Measured]:
    """Examples/s on real text. Ours reads its batches from shards within the time that is measured."""
    shards, length = text_shards(task, folder)
    functions, work = product_peaks(), {}
    if (loop := pytorch_training(stage, FLAGS.student, FLAGS.teacher)) is not None:
        padded = [
            arrays_of(batch)
            for batch in shards.batches(TEXT_BATCH, seed=0, buckets=(length,))
            .take(FLAGS.reference_batches)
            .as_numpy_iterator()
        ]
        functions[LOOP] = lambda: [loop.step(*arrays) for arrays in padded]
        work[LOOP] = TEXT_BATCH * len(padded)
    used = shards.batches(TEXT_BATCH, seed=0).take(FLAGS.batches)
    shapes = [features["input_word_ids"].shape for features, *_ in used]
    for name, dtypes in PRECISIONS.items():
        step = step_of(distiller(stage, *dtypes), used.element_spec)
        functions[name] = lambda step=step: [step(batch) for batch in used]
        work[name] = TEXT_BATCH * len(shapes)
    from_disk = f"{name}, its teacher from disk"
    with tempfile.TemporaryDirectory(dir=folder) as own_folder:
        functions[from_disk] = passes_from_disk(stage, own_folder, shards, dtypes, TEXT_BATCH, FLAGS.batches)
        work[from_disk] = work[name]
        seconds = in_turn(functions, FLAGS.rounds)
    peaks, gflop = gflops(seconds), [0.0, 0.0]
    for batch, bucket in shapes:
        gflop = [so_far + part for so_far, part in zip(gflop, step_gflop(stage, batch * bucket, bucket), strict=True)]
    case = f"{stage}, {task}, batches of {TEXT_BATCH}, the loop padded to {length}"
    reference = LOOP if loop is not None else "ours, float32"
    note = f"mean length {np.mean([bucket for _, bucket in shapes]):.0f}"
    least = least_seconds(tuple(gflop), peaks)
    notes = dict.fromkeys(PRECISIONS, note) | {from_disk: FROM_DISK_NOTE}
    return compared(case, without_peaks(seconds), work, "examples", reference, least, notes)


def passes_from_disk(
    stage: str, folder: str, shards: TokenShards, dtypes: tuple[str, str], batch_size: int, count: int
) -> Callable[[], list]:
    """A function that trains on `count` batches with what the teacher computed in an earlier pass."""
    model = distiller(stage, *dtypes)
    cache = TeacherCache(folder, shards, model.teacher_reader)
    cache.compute(np.concatenate(list(itertools.islice(shards.row_numbers(batch_size, 0), count))))
    batches = shards.batches(batch_size, seed=0, extra=cache.features()).take(count)
    step = step_of(model, batches.element_spec)
    return lambda: [step(batch) for batch in batches]


def cached_table(folder: str, task: str) -> list[Measured]:
    """The prediction stage from its second pass on, when the teacher's logits are on disk, against the student alone."""
    import keras

    from tinybert_tf.bert import logits_model
    from tinybert_tf.train.optimizer import bert_adamw

    shards, _ = text_shards(task, folder)
    dtypes = ("bfloat16", "float32")
    taught = distiller("prediction", *dtypes)
    alone = logits_model(distiller("prediction", *dtypes).student)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone.compile(bert_adamw(5e-5, 100_000), loss=loss, jit_compile=False)

    def passes(model):
        """A function that reads the batches and trains on them."""
        batches = shards.batches(TEXT_BATCH, seed=0).take(FLAGS.batches)
        step = step_of(model, batches.element_spec)
        return lambda: [step(batch) for batch in batches]

    reference = "the student alone, labels"
    functions = {
        reference: passes(alone),
        "logits from disk": passes_from_disk("prediction", folder, shards, dtypes, TEXT_BATCH, FLAGS.batches),
        "teacher in every step": passes(taught),
    }
    seconds = in_turn(functions, FLAGS.rounds)
    case = f"prediction, {task}, from the second pass on, batches of {TEXT_BATCH}"
    return compared(case, seconds, TEXT_BATCH * FLAGS.batches, "examples", reference)


def general_table(folder: str) -> list[Measured]:
    """General distillation on a corpus that `bin/make_corpus.py` packed: full batches that are read from TFRecords."""
    from tinybert_tf.checkpoints import resolve_directory
    from tinybert_tf.corpus import CorpusSettings, make_corpus, read_corpus

    vocab = FLAGS.vocab or str(resolve_directory("minilm_l6") / "vocab.txt")
    make_corpus(CorpusSettings(input=FLAGS.text, vocab=vocab, output_dir=folder, max_seq_length=FULL_LENGTH))
    used = read_corpus(folder).batches(batch_size=TEXT_BATCH, shuffle_seed=0).take(3)
    read = list(used.as_numpy_iterator())
    functions, work = product_peaks(), {}
    if (loop := pytorch_training("intermediate", FLAGS.student, FLAGS.teacher)) is not None:
        features = read[0] if isinstance(read[0], dict) else read[0][0]
        padded = arrays_of((features, np.zeros(TEXT_BATCH, np.int32), None))
        functions[LOOP], work[LOOP] = (lambda: loop.step(*padded)), TEXT_BATCH
    for name, dtypes in PRECISIONS.items():
        model = distiller("intermediate", *dtypes)
        step = step_of(model)
        functions[name] = lambda step=step: [step(batch if isinstance(batch, tuple) else (batch,)) for batch in used]
        work[name] = TEXT_BATCH * len(read)
    seconds = in_turn(functions, FLAGS.rounds)
    gflop = step_gflop("intermediate", TEXT_BATCH * FULL_LENGTH * len(read), FULL_LENGTH)
    reference = LOOP if loop is not None else "ours, float32"
    case = f"general distillation, batches of {TEXT_BATCH} x {FULL_LENGTH}"
    least = least_seconds(gflop, gflops(seconds))
    return compared(case, without_peaks(seconds), work, "examples", reference, least)


def main(argv: list[str]) -> None:
    del argv
    for stage in FLAGS.stages:
        with tempfile.TemporaryDirectory() as folder:
            report("distillation", full_table(stage, folder))
    if FLAGS.text:
        with tempfile.TemporaryDirectory() as folder:
            report("distillation", general_table(str(Path(folder, "corpus"))))
    if not FLAGS.data_dir:
        return
    with tempfile.TemporaryDirectory() as folder:
        for task in ("sst2", "mrpc"):
            for stage in FLAGS.stages:
                report("distillation", text_table(stage, task, str(Path(folder, task))))
        if "prediction" in FLAGS.stages:
            report("distillation", cached_table(str(Path(folder, "sst2")), "sst2"))


if __name__ == "__main__":
    app.run(main)
