"""Distillation while pruning: a student gets smaller in rounds, with a part of the intermediate stage after each."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert_tf.bert import BertConfig, BiLstmConfig, size_of
from tinybert_tf.checkpoints import read_config, resolve_directory
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.distill import layer_map
from tinybert_tf.errors import InputError
from tinybert_tf.files import file_states, read_json_object, remove, write_json
from tinybert_tf.prune import prune
from tinybert_tf.prune.texts import split_texts
from tinybert_tf.settings import check_at_least_one, flat_values, replace, setting
from tinybert_tf.train.inputs import input_states
from tinybert_tf.train.student import is_loaded

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PruningSettings:
    """Whether a student is pruned during distillation, and in how many rounds."""

    prune_to: str | None = setting(
        None, "prune the student, a model directory or the teacher itself, to LAYERSxHIDDENxHEADSxINTERMEDIATE"
    )
    prune_rounds: int = setting(
        1, "1: prune, then distill; more: prune a part, distill a part of the intermediate stage, prune again"
    )

    def __post_init__(self):
        check_at_least_one(self, "prune_rounds")
        if self.prune_to is not None and size_of(self.prune_to) is None:
            raise InputError(
                "must be a size, such as 4x312x12x1200 (layers, width, heads, neurons)", "prune_to", self.prune_to
            )


def pruned_student(settings: Any, distill: Callable[[Any], dict]) -> Any:
    """The settings of the last round: their student is pruned, and the layer map is that of the layers it kept.

    Everything is written to `pruning/` in the run directory; a round that is complete is not repeated.

    Args:
        settings: of task distillation, with `pruning.prune_to`.
        distill: runs the intermediate stage between two rounds.

    Raises:
        InputError: a student that is no model directory, or a size that is larger than its own.
    """
    if not is_loaded(settings.student):
        raise InputError(
            "`prune_to` makes a trained network smaller: give a model directory, such as the teacher's",
            "student",
            settings.student,
        )
    rounds, directory = settings.pruning.prune_rounds, Path(settings.run.output_dir) / "pruning"
    student = resolve_directory(settings.student, "--student")
    config, _ = read_config(student)
    teacher, _ = read_config(resolve_directory(settings.teachers[0]))
    if isinstance(config, BiLstmConfig) or isinstance(teacher, BiLstmConfig):
        raise InputError("is not for a BiLSTM", "prune_to", settings.pruning.prune_to)
    if rounds > 1:
        epochs = settings.intermediate_epochs or settings.data.load().task.intermediate_epochs
        settings = replace(settings, intermediate_epochs=epochs / rounds)
    layers = layer_map(settings.matching.layers, config.num_hidden_layers, teacher.num_hidden_layers)
    for number in range(1, rounds + 1):
        target = _sizes(config, size_of(settings.pruning.prune_to), number / rounds)
        kept = _prune(
            student,
            directory / f"pruned_{number}",
            settings.data,
            settings.run.seed,
            target,
            directory / f"distilled_{number}",
        )
        layers = tuple(layers[layer - 1] for layer in kept)
        student = directory / f"pruned_{number}"
        settings = replace(settings, student=str(student), layer_map=",".join(map(str, layers)))
        if number < rounds:
            output = directory / f"distilled_{number}"
            distill(settings.of_intermediate_stage(prune_to=None, prune_rounds=1, output_dir=str(output)))
            student = output / "model"
    return settings


def _prune(
    student: Path, output: Path, data: DataSettings, seed: int, sizes: dict[str, int], distilled: Path
) -> list[int]:
    """Prunes a student, unless that is done already; returns the remaining layers, counted from 1.

    What an earlier call distilled from another student is removed.
    """
    record = output.with_suffix(".json")
    # Without the model card, to which later steps add.
    files = [path for path in student.iterdir() if path.is_file() and path.name != "README.md"]
    states = [[Path(path).name, *state] for path, *state in file_states(files)]
    inputs = {"sizes": sizes, "student": states, "data": flat_values(data), "files": input_states(data), "seed": seed}
    inputs = json.loads(json.dumps(inputs))
    if (output / "config.json").is_file() and record.is_file():
        found = read_json_object(record)
        is_of_first_version = "inputs" not in found and found.get("sizes") == sizes
        if found.get("inputs") == inputs or is_of_first_version:
            return found["layers"]
    remove(distilled)
    task = data.load()
    logger.info("pruning to %s", "x".join(map(str, sizes.values())))
    texts, seq_len = split_texts(task.train), data.seq_len or task.task.seq_len
    report = prune(student, output, texts, held_out=texts, seq_len=seq_len, seed=seed, **sizes)
    write_json(record, {"inputs": inputs, "layers": report.layers})
    return list(report.layers)


def _sizes(config: BertConfig, target: tuple[int, int, int, int], share: float) -> dict[str, int]:
    """Intermediate sizes between a network and its target; the number of heads and their width shrink separately."""
    layers, hidden, heads, neurons = target
    if hidden % heads:
        raise InputError(
            f"{hidden} must be a multiple of {heads}, all heads being equally wide",
            "prune_to",
            "x".join(map(str, target)),
        )
    between = lambda begin, end: round(begin + (end - begin) * share)
    now = between(config.num_attention_heads, heads)
    return {
        "num_hidden_layers": between(config.num_hidden_layers, layers),
        "hidden_size": now * between(config.attention_head_size, hidden // heads),
        "num_attention_heads": now,
        "intermediate_size": between(config.intermediate_size, neurons),
    }
