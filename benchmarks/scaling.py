"""What the paper's recipe costs on other machines: the tables of docs/scaling.md.

python benchmarks/scaling.py

Arithmetic alone: what was measured on one core, what is assumed of accelerators, and what follows. Nothing is run here; to
plan for another machine, change `MACHINES`.
"""

import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinybert_tf.bert import BertConfig, encoder_flops
from tinybert_tf.report import markdown_table

LENGTH = 128

# Measured; docs/scaling.md says how.
WORDS_PER_EXAMPLE = 100.0  # of Wikipedia, BERT's packing
TOKENS_PER_WORD = 1.351
BYTES_PER_EXAMPLE = 177  # in the corpus' files
TOKENS_PER_CORE_SECOND = 4.4e6  # making the corpus
READ_PER_CORE_SECOND = {"general": 101_000, "task": 8_400}  # examples, from files to batches
CORE_FLOPS = 225e9  # a second, in a distillation step with a bfloat16 teacher

# The recipe.
WIKIPEDIA_WORDS, GENERAL_EPOCHS, GENERAL_BATCH = 2.5e9, 3, 256
MNLI_ROWS, COPIES, INTERMEDIATE_EPOCHS, PREDICTION_EPOCHS, TASK_BATCH = 392_702, 20, 10, 3, 32


@dataclasses.dataclass(frozen=True)
class Machine:
    """Devices that train together.

    Attributes:
        teacher_flops, student_flops: of one device, a second: its peak for the dtype, times the share of it that is reached.
        bytes_per_second: that a device sends and receives in an all-reduce.
        price: of a device for an hour, in dollars.
    """

    name: str
    devices: int
    teacher_flops: float
    student_flops: float
    bytes_per_second: float
    price: float


_A100 = {"teacher_flops": 0.30 * 312e12, "student_flops": 0.10 * 156e12, "price": 2.0}
_TPU = {"teacher_flops": 0.30 * 275e12, "student_flops": 0.10 * 275e12, "price": 3.0}
MACHINES = (
    Machine("1 CPU core", 1, CORE_FLOPS, CORE_FLOPS, float("inf"), 0.05),
    Machine("1 A100", 1, bytes_per_second=float("inf"), **_A100),
    Machine("8 A100, one machine", 8, bytes_per_second=200e9, **_A100),
    Machine("64 A100, 100 Gbit/s", 64, bytes_per_second=12.5e9, **_A100),
    Machine("TPU v4, 4 chips", 4, bytes_per_second=100e9, **_TPU),
)


def parameters(config: BertConfig) -> int:
    """Of an encoder with its pooler."""
    hidden, inner = config.hidden_size, config.intermediate_size
    rows = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    layer = 4 * (hidden**2 + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    return rows * hidden + 2 * hidden + config.num_hidden_layers * layer + hidden**2 + hidden


def projections(student: BertConfig, teacher: BertConfig) -> int:
    """Parameters of W_e and W_h: a matrix with a bias for each hidden state."""
    return (student.num_hidden_layers + 1) * (student.hidden_size + 1) * teacher.hidden_size


def row_flops(student: BertConfig, teacher: BertConfig, stage: str) -> tuple[float, float]:
    """(teacher, student) operations for one row: a forward pass, and forward with both gradients, which is three times it."""
    own = encoder_flops(student, LENGTH)
    if stage == "intermediate":
        own += 2 * LENGTH * (student.num_hidden_layers + 1) * student.hidden_size * teacher.hidden_size
    return encoder_flops(teacher, LENGTH), 3 * own


def all_reduce_bytes(trained: int, devices: int) -> float:
    """What each device sends in a step: a ring passes float32 gradients on 2 (N - 1) times, a share of 1 / N each time."""
    return 4 * trained * 2 * (devices - 1) / devices


def row_memory(student: BertConfig, teacher: BertConfig) -> float:
    """Bytes for one row: the student's activations that the gradients need, and the teacher's states that are compared."""
    own = student.num_attention_heads * LENGTH**2 * 2 + LENGTH * (
        10 * student.hidden_size + 2 * student.intermediate_size
    )
    compared = student.num_hidden_layers * teacher.num_attention_heads * LENGTH**2
    compared += (student.num_hidden_layers + 1) * LENGTH * teacher.hidden_size
    return 4 * student.num_hidden_layers * own + (2 + 4) * compared  # in bfloat16 and, for the loss, in float32


def step(machine: Machine, batch: int, flops: tuple[float, float], trained: int, reading: str) -> dict[str, float]:
    """Seconds of one step: computing, then the all-reduce (as if nothing overlapped); or reading, if that takes longer."""
    rows = batch / machine.devices
    computing = rows * (flops[0] / machine.teacher_flops + flops[1] / machine.student_flops)
    network = all_reduce_bytes(trained, machine.devices) / machine.bytes_per_second
    read = 0.0 if machine.devices == 1 else batch / READ_PER_CORE_SECOND[reading]  # every worker reads the whole batch
    return {"computing": computing, "network": network, "reading": read, "step": max(computing + network, read)}


def times_table(size: str, stages: dict[str, float], batches: dict[int, int], reading: str) -> str:
    """A row for each machine.

    Args:
        stages: stage -> rows that are trained on.
        batches: number of devices -> global batch.
    """
    student, teacher = BertConfig.named(size), BertConfig.named("bert_base")
    trained = parameters(student) + projections(student, teacher)
    rows = []
    for machine in MACHINES:
        batch = batches.get(machine.devices, batches[1])
        steps = {stage: step(machine, batch, row_flops(student, teacher, stage), trained, reading) for stage in stages}
        hours = sum(count / batch * steps[stage]["step"] for stage, count in stages.items()) / 3600
        first = steps["intermediate"]
        limit = (
            "reading"
            if first["reading"] >= first["step"]
            else "network"
            if first["network"] > first["computing"]
            else "computing"
        )
        rows.append(
            {
                "machine": machine.name, "batch": batch, "rows a device": batch / machine.devices,
                "computing ms": f"{1e3 * first['computing']:.1f}", "all-reduce ms": f"{1e3 * first['network']:.2f}",
                "reading ms": f"{1e3 * first['reading']:.1f}", "limit": limit, "hours": f"{hours:,.1f}",
                "dollars": f"{hours * machine.devices * machine.price:,.0f}",
            }
        )  # fmt: skip
    return markdown_table(rows, list(rows[0]))


def networks_table() -> str:
    """What a step of each student asks of a device."""
    teacher, rows = BertConfig.named("bert_base"), []
    for size in ("tinybert4", "tinybert6"):
        student = BertConfig.named(size)
        trained = parameters(student) + projections(student, teacher)
        flops = row_flops(student, teacher, "intermediate")
        rows.append(
            {
                "student": size, "parameters": f"{parameters(student):,}", "with projections": f"{trained:,}",
                "GFLOP a row": f"{sum(flops) / 1e9:.1f}", "gradients MB": f"{4 * trained / 1e6:.1f}",
                "sent MB, 8 devices": f"{all_reduce_bytes(trained, 8) / 1e6:.1f}",
                "sent MB, 64": f"{all_reduce_bytes(trained, 64) / 1e6:.1f}",
                "weights and optimizer GB": f"{(16 * trained + 2 * parameters(teacher)) / 1e9:.2f}",
                "activations MB a row": f"{row_memory(student, teacher) / 1e6:.0f}",
            }
        )  # fmt: skip
    return markdown_table(rows, list(rows[0]))


def tables() -> dict[str, str]:
    examples = WIKIPEDIA_WORDS / WORDS_PER_EXAMPLE
    general = {"intermediate": GENERAL_EPOCHS * examples}
    augmented = MNLI_ROWS * (1 + COPIES)
    task = {"intermediate": INTERMEDIATE_EPOCHS * augmented, "prediction": PREDICTION_EPOCHS * augmented}
    corpus = [
        {
            "words": f"{WIKIPEDIA_WORDS:,.0f}", "tokens": f"{WIKIPEDIA_WORDS * TOKENS_PER_WORD:,.0f}",
            "examples": f"{examples:,.0f}", "GB": f"{examples * BYTES_PER_EXAMPLE / 1e9:.1f}",
            "core minutes": f"{WIKIPEDIA_WORDS * TOKENS_PER_WORD / TOKENS_PER_CORE_SECOND / 60:.0f}",
            "steps of 256, 3 epochs": f"{GENERAL_EPOCHS * examples / GENERAL_BATCH:,.0f}",
        }
    ]  # fmt: skip
    return {
        "the corpus": markdown_table(corpus, list(corpus[0])),
        "a step": networks_table(),
        "general distillation, TinyBERT4": times_table("tinybert4", general, {1: GENERAL_BATCH}, "general"),
        "general distillation, TinyBERT6": times_table("tinybert6", general, {1: GENERAL_BATCH}, "general"),
        "task distillation of augmented MNLI, TinyBERT4": times_table(
            "tinybert4", task, {1: TASK_BATCH, 64: 256}, "task"
        ),
    }


if __name__ == "__main__":
    for title, table in tables().items():
        print(f"## {title}\n\n{table}\n")
