"""Distills many sizes from one teacher for a few minutes each, exports and measures them: score against size and time."""

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.checkpoints.rounding import MODES
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.metrics import retention
from tinybert_tf.export import QUANTIZE_MODES, benchmark, example_texts, export_tflite, score_file
from tinybert_tf.pipeline.steps import Steps, data_files
from tinybert_tf.prune import prune
from tinybert_tf.prune.texts import split_texts
from tinybert_tf.report.frontier import smallest_that_keeps, with_frontier, write_frontier
from tinybert_tf.settings import (
    build,
    check_at_least_one,
    check_positive,
    check_seed,
    flat_values,
    integers,
    nested,
    setting,
)
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune

logger = logging.getLogger(__name__)

# Shares of the teacher's score: TinyBERT4's share of BERT_BASE's score in the paper, and a common requirement.
RETENTIONS = (0.968, 0.99)
_TEACHER_LEARNING_RATE = 3e-5
_TRIED_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class FrontierSettings:
    """The grid of sizes and how long each is distilled."""

    data: DataSettings = nested(DataSettings)
    teacher: str = setting("", "a model directory that was fine-tuned on the task", required=True)
    output_dir: str = setting("", "where everything is written", required=True)
    layers: str = setting("2,3,4,6", "numbers of layers")
    widths: str = setting("128,192,256,312", "hidden sizes; each is rounded to a multiple of the teacher's heads")
    vocab_sizes: str = setting("6000,0", "numbers of word pieces; 0: all")
    quantize: str = setting("int8,int4", f"files of each size: {', '.join(QUANTIZE_MODES)}")
    minutes: float = setting(
        5.0,
        "that each size is distilled for on this machine, both stages together, and a teacher is fine-tuned again for",
    )
    quantize_aware: bool = setting(
        False,
        f"train {', '.join(MODES)} files through their rounding: for each a second prediction stage of as many steps",
    )
    train_batch_size: int = setting(32, "examples in a step")
    max_train_examples: int | None = setting(None, "use only the first rows of the training set")
    intermediate_learning_rate: float = setting(3e-4, "peak of the schedule of the intermediate stage")
    prediction_learning_rate: float = setting(1e-4, "peak of the schedule of the prediction stage")
    allow_weak_teacher: bool = setting(False, "distill a teacher even if its dev score is no better than chance")
    seed: int = setting(0, "of initial values and order")

    def __post_init__(self):
        check_seed(self.seed)
        check_at_least_one(self, "train_batch_size", "max_train_examples")
        check_positive(self, "minutes")
        for mode in self.modes:
            if mode not in QUANTIZE_MODES:
                raise InputError(f"must be of {', '.join(QUANTIZE_MODES)}", "quantize", mode)
        _ = self.words

    @property
    def modes(self) -> list[str]:
        """`quantize` as a list."""
        return [mode.strip() for mode in self.quantize.split(",")]

    @property
    def words(self) -> list[int]:
        """`vocab_sizes` as a list."""
        try:
            sizes = [int(part) for part in self.vocab_sizes.split(",")]
        except ValueError:
            sizes = [-1]
        if min(sizes) < 0:
            raise InputError("must be integers from 0 on, separated by commas", "vocab_sizes", self.vocab_sizes)
        return sizes


@dataclasses.dataclass(frozen=True)
class _Size:
    layers: int
    width: int
    vocab_size: int
    student: str

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.width}_{self.vocab_size or 'all'}"


def frontier(settings: FrontierSettings) -> dict:
    """Distills, exports and measures every size; the result of `bin/frontier.py`.

    A step that is complete and whose inputs are unchanged is skipped; one that was interrupted is resumed.
    """
    job = _Frontier(settings)
    files, facts = {}, {}
    for size in job.sizes:
        models = job.distill(size, job.teacher(size.vocab_size))
        for mode, found in job.files(size, models).items():
            name = f"{size.name} {mode}"
            files[name], facts[name] = found.pop("path"), _described(size, mode, models[mode]) | found
    times = job.steps.run("latency", lambda _: job.times(files), {"files": files}, **files)
    teacher_score = job.teacher_score()
    rows = [
        {"model": name, **fact, "retention": retention(fact["score"], teacher_score) or 0.0, **times[name]}
        for name, fact in facts.items()
    ]
    write_frontier(settings.output_dir, rows, settings.data.task)
    best = max(rows, key=lambda row: row["score"])
    result = {"task": settings.data.task, "score": best["score"], "metrics": {"score": best["score"]}}
    return result | {"teacher_score": teacher_score, "rows": with_frontier(rows), "keeps": _keeps(rows)}


def _described(size: _Size, mode: str, model: Path) -> dict[str, Any]:
    config, _ = read_config(model)
    return {
        "layers": size.layers,
        "width": size.width,
        "vocab_size": config.vocab_size,
        "quantize": mode,
        "parameters": load_model(model).count_params(),
    }


def _keeps(rows: list[dict]) -> dict[str, dict[str, str | None]]:
    """Share of the teacher's score -> the names of the smallest and of the fastest file that keep it."""
    found = {}
    for share in RETENTIONS:
        names = {}
        for word, key in (("smallest", "mb"), ("fastest", "ms")):
            row = smallest_that_keeps(rows, share, key)
            names[word] = row and row["model"]
        found[f"{share:.1%}"] = names
    return found


class _Frontier:
    """The steps of one frontier."""

    def __init__(self, settings: FrontierSettings):
        self.settings, self.root = settings, Path(settings.output_dir)
        self.source = resolve_directory(settings.teacher)
        self.data = settings.data.load()
        self.seq_len = settings.data.seq_len or self.data.task.seq_len
        self.config, head = read_config(self.source)
        if head != self.data.task.head:
            raise InputError(
                f"has the head {head!r}, but task {self.data.task.name} needs {self.data.task.head!r}; fine-tune it first",
                "teacher",
                settings.teacher,
            )
        self.steps = Steps(self.root, data_files(settings.data, self.data.task.folder))
        self.sizes = self._sizes()
        self.shared = flat_values(settings.data)

    def _sizes(self) -> list[_Size]:
        """From small to large, so that an interrupted frontier has its interesting part."""
        found = []
        if (words := max(self.settings.words)) > self.config.vocab_size:
            raise InputError(f"the teacher has {self.config.vocab_size} words", "vocab_sizes", words)
        for layers in sorted(integers("layers", self.settings.layers)):
            for width in sorted(integers("widths", self.settings.widths)):
                heads = self.config.num_attention_heads
                hidden = min(max(1, round(width / heads)) * heads, self.config.hidden_size)
                neurons = math.ceil(self.config.intermediate_size * hidden / self.config.hidden_size)
                if layers > self.config.num_hidden_layers:
                    raise InputError(f"the teacher has {self.config.num_hidden_layers}", "layers", layers)
                for words in self.settings.words:
                    found.append(_Size(layers, hidden, words, f"{layers}x{hidden}x{heads}x{neurons}"))
        return list(dict.fromkeys(found))

    def teacher(self, vocab_size: int) -> Path:
        """The teacher with a vocabulary of that size, fine-tuned again for as long as a student is distilled: the cut alone
        would cost its students what it costs the teacher.
        """
        if not vocab_size:
            return self.source
        texts, held_out = split_texts(self.data.train), split_texts(self.data.dev)
        make = lambda output: dataclasses.asdict(
            prune(self.source, output, texts, held_out=held_out, vocab_size=vocab_size)
        )
        name, described = f"teacher_{vocab_size}", self.shared | {"vocab_size": vocab_size}
        cut = Path(self.steps.run(f"{name}_cut", make, described, teacher=self.source)["model"])
        values = self._training(name) | {"model": str(cut), "learning_rate": _TEACHER_LEARNING_RATE}
        steps = self._steps_for(name, finetune, FinetuneSettings, values, ("epochs",), teacher=cut)
        values |= {"epochs": self._epochs(steps), "max_steps": steps}
        return Path(self.steps.run_program(name, finetune, build(FinetuneSettings, values), teacher=cut)["model"])

    def _training(self, output: str) -> dict[str, Any]:
        """The settings of every training, by name."""
        names = ("train_batch_size", "max_train_examples", "seed")
        own = {name: getattr(self.settings, name) for name in names}
        return self.shared | own | {"output_dir": output, "evaluations": 3}

    def distill(self, size: _Size, teacher: Path) -> dict[str, Path]:
        """Students of that size: mode -> the model of this mode's file, which all share without `quantize_aware`."""
        names = ("intermediate_learning_rate", "prediction_learning_rate", "allow_weak_teacher")
        values = self._training(size.name) | {name: getattr(self.settings, name) for name in names}
        values |= {"teacher": str(teacher), "student": size.student}
        stages = ("intermediate_epochs", "prediction_epochs")
        steps = self._steps_for(size.name, distill_task, DistillSettings, values, stages, teacher=teacher)
        values |= dict.fromkeys(stages, self._epochs(steps)) | {"max_steps": steps}
        student = self._distilled(size.name, values, teacher=teacher)
        models = dict.fromkeys(self.settings.modes, student)
        if self.settings.quantize_aware:
            for mode in (mode for mode in MODES if mode in models):
                own = values | {"student": str(student), "stage": "prediction", "quantize_aware": mode}
                models[mode] = self._distilled(f"{size.name}_{mode}", own, teacher=teacher, student=student)
        return models

    def _distilled(self, name: str, values: dict[str, Any], **files: Path) -> Path:
        return Path(self.steps.run_program(name, distill_task, build(DistillSettings, values), **files)["model"])

    def _steps_for(
        self,
        name: str,
        program: Callable[[Any], dict],
        settings_class: type,
        values: dict[str, Any],
        stages: Sequence[str],
        **files: Path,
    ) -> int:
        """Steps of each stage of a program that take `minutes` together, by a dry run; `stages` are its numbers of epochs."""

        def make(_: Path) -> int:
            trial = values | dict.fromkeys(stages, self._epochs(_TRIED_STEPS))
            minutes = program(build(settings_class, trial | {"max_steps": _TRIED_STEPS, "dry_run": True}))["minutes"]
            steps = max(1, round(_TRIED_STEPS * self.settings.minutes / max(minutes, 1e-3)))
            logger.info("%s: %d steps of each stage", name, steps)
            return steps

        return self.steps.run(f"plan/{name}", make, values | {"minutes": self.settings.minutes}, **files)

    def _epochs(self, steps: int) -> float:
        """Enough epochs that `max_steps` ends a stage."""
        rows = sum(1 for _ in self.data.train.limit(self.settings.max_train_examples))
        return steps * self.settings.train_batch_size / rows + 1

    def files(self, size: _Size, models: dict[str, Path]) -> dict[str, dict[str, Any]]:
        """The files of a size: mode -> `path`, `mb` and `score`."""

        def make(output: Path) -> dict[str, dict[str, Any]]:
            found, texts, own = {}, example_texts(self.data.train), self.settings.data
            for mode, model in models.items():
                path = output / f"{size.name}_{mode}.tflite"
                report = export_tflite(model, path, seq_len=self.seq_len, quantize=mode, calibration_texts=texts)
                score = score_file(path, own.task, own.data_dir, own.custom)
                logger.info("%s %s: %.2f MB, score %.4f", size.name, mode, report.mb, score)
                found[mode] = {"path": str(path), "mb": report.mb, "score": score}
            return found

        described = {"modes": self.settings.modes, "seq_len": self.seq_len}
        made = self.steps.run(f"{size.name}_files", make, described, **models)
        return {mode: dict(found) for mode, found in made.items()}

    def times(self, files: dict[str, str]) -> dict[str, dict[str, float]]:
        """Milliseconds of each file on one thread, all taking turns."""
        reports = benchmark(list(files.values()), runs=50)
        return {name: {"ms": report.median_ms} for name, report in zip(files, reports, strict=True)}

    def teacher_score(self) -> float:
        """The teacher's dev score in float32."""

        def make(_: Path) -> float:
            evaluating = build(EvaluateSettings, self.shared | {"model_dir": str(self.source)})
            return evaluate_model(evaluating)["score"]

        return self.steps.run("teacher_score", make, self.shared, teacher=self.source)
