"""All steps for one task in one call: augment, distill, evaluate, predict, convert, report."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from tinybert_tf.augmentation import Augmentation, AugmentSettings, augment_task
from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.files import read_json
from tinybert_tf.pipeline.diagnosis import diagnose
from tinybert_tf.pipeline.steps import Steps, data_files, open_devices
from tinybert_tf.pipeline.summary import FILES, add_to_card, convert, measure, model_row, plot_attention_of
from tinybert_tf.report import write_report
from tinybert_tf.settings import compose, flat_values, nested, replace, setting
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.sweep import SweepSettings, sweep

logger = logging.getLogger(__name__)

_COPIES = 20
# What `--sweep` varies, and the setting of a single run.
_OF_THE_GRID = {"batch_sizes": "train_batch_size", "learning_rates": "prediction_learning_rate", "seeds": "seed"}


@dataclasses.dataclass(frozen=True)
class RunTaskSettings:
    """Settings of bin/run_task.py."""

    grid: SweepSettings = nested(SweepSettings, stage="both")
    sweep: bool = setting(False, "choose batch size and learning rate of the prediction stage on dev, over the grid")
    masked_lm: str = setting("none", "augment the training set with this model directory's masked-LM head")
    word_vectors: str = setting("none", "augment the training set with this GloVe or word2vec text file")
    copies: int = setting(_COPIES, "augmented copies of an example")

    def __post_init__(self):
        if not self.sweep:
            for field in dataclasses.fields(SweepSettings):
                name, instead = field.name, _OF_THE_GRID.get(field.name)
                if instead and (value := getattr(self.grid, name)) != field.default:
                    raise InputError(
                        f"is a list for `sweep`, which is not set; set it, or give `{instead}`", name, value
                    )
        elif self.grid.distill.stage == "intermediate":
            raise InputError("varies the prediction stage; set `stage=both` or `prediction`", "sweep", True)
        if self.copies != _COPIES and self.masked_lm == self.word_vectors == "none":
            raise InputError(
                "makes none without `masked_lm` or `word_vectors`; give one, or leave it out", "copies", self.copies
            )


def run_task(settings: RunTaskSettings) -> dict:
    """The whole of stage 2 for a task.

    A step is skipped if its output is complete and its inputs are unchanged; an interrupted one is resumed.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/run_task.py`.

    Raises:
        InputError: a teacher, data or settings that do not fit each other.
    """
    if settings.grid.distill.run.dry_run:
        raise InputError("a pipeline has none; try its stages with bin/distill_task.py", "dry_run", True)
    open_devices(settings.grid.distill.run.devices)
    job = _TaskSteps(settings)
    augmented = job.augment()
    models = {"teacher": job.teacher, "student": job.distill(augmented)}
    scores = job.steps.run(
        "scores", lambda _: {name: job.score(folder) for name, folder in models.items()}, {}, **models
    )
    job.predict(models["student"])
    convert_all = lambda output: convert(models, output, job.seq_len, job.data.train)
    files = job.steps.run("tflite", convert_all, {"seq_len": job.seq_len, "modes": FILES}, **models)
    measured = job.steps.run("latency", lambda _: measure(files), {}, **files)
    add_to_card("student", models["student"], measured)
    metric = job.data.task.main_metric
    rows = [
        model_row(name, folder, scores[name][metric], scores["teacher"][metric], job.seq_len, measured)
        for name, folder in models.items()
    ]
    report = _write_report(job, models, rows)
    return {
        "task": job.data.task.name,
        "score": scores["student"][metric],
        "metrics": scores["student"],
        "teacher_score": scores["teacher"][metric],
        "student_score": scores["student"][metric],
        "retention": rows[1]["retention"],
        "model": str(models["student"]),
        "report": str(report),
    }


class _TaskSteps:
    def __init__(self, settings: RunTaskSettings):
        self.settings, self.distilling = settings, settings.grid.distill
        self.reading, self.root = self.distilling.data, Path(self.distilling.run.output_dir)
        if self.distilling.teacher_logits or len(self.distilling.teachers) > 1:
            raise InputError(
                "a pipeline scores and converts one teacher; take bin/distill_task.py for several or a file of logits"
            )
        if self.distilling.matching.layer_map == "search":
            raise InputError("scores every map after both stages; take bin/distill_task.py", "layer_map", "search")
        self.layers = self.distilling.matching.layers
        self.teacher = resolve_directory(self.distilling.teacher)
        self.data = self.reading.load()
        self.seq_len = self.reading.seq_len or self.data.task.seq_len
        self.runs: dict[str, Path] = {}  # of the stages, for the report
        self.steps, self.data_files = Steps(self.root), data_files(self.reading, self.data.task.folder)

    def augment(self) -> Path | None:
        own = self.settings
        if own.masked_lm == own.word_vectors == "none":
            return None
        augmenting = AugmentSettings(
            task=self.reading.task, data_dir=self.reading.data_dir, output_dir="", masked_lm=own.masked_lm,
            word_vectors=own.word_vectors, max_train_examples=self.distilling.examples.max_train_examples,
            algorithm=Augmentation(copies=own.copies, seed=self.distilling.run.seed), custom=self.reading.custom,
        )  # fmt: skip
        sources = {name: getattr(own, name) for name in ("masked_lm", "word_vectors") if getattr(own, name) != "none"}
        self.steps.run_program("augmented", augment_task, augmenting, **sources, **self.data_files)
        return self.root / "augmented"

    def distill(self, augmented: Path | None) -> Path:
        """Both stages, the second one optionally as a sweep; returns the student's model directory."""
        grid, stage = replace(self.settings.grid, teacher=str(self.teacher)), self.distilling.stage
        if augmented and self.reading.task in CUSTOM_TASKS:
            train_file = augmented / "custom" / Path(self.reading.custom.train_file).name
            grid = replace(grid, train_file=str(train_file), max_train_examples=None)
        elif augmented:
            grid = replace(grid, augmented_data_dir=str(augmented), max_train_examples=None)
        files = {"teacher": self.teacher, "augmented": augmented} | self.data_files
        if stage in ("intermediate", "both"):
            first = grid.distill.of_intermediate_stage()
            student = first.student if Path(first.student).is_dir() else None
            result = self.steps.run_program("intermediate", distill_task, first, student=student, **files)
            self.layers = result.get("layer_map", self.layers)
            self.runs["intermediate"] = self.root / "intermediate"
            # What is of the intermediate stage alone.
            done = {"init": "auto", "prune_to": None, "prune_rounds": 1, "loss_scale": "paper"}
            if self.distilling.matching.layer_map == "learned":
                done["layer_map"] = "uniform"
            grid = replace(grid, student=result["model"], **done)
        student = grid.distill.student
        if stage == "intermediate":
            return Path(student)
        second = grid if stage == "joint" else replace(grid, stage="prediction")
        if grid.distill.augmented_data_dir and self.data.task.kind == "regression":  # learns from the task's own rows
            limit = self.distilling.examples.max_train_examples
            second = replace(second, augmented_data_dir=None, max_train_examples=limit)
        if self.settings.sweep:
            result = self.steps.run_program("sweep", sweep, second, student=student, **files)
            self.runs["prediction"] = Path(result["run"])
        else:
            result = self.steps.run_program("prediction", distill_task, second.distill, student=student, **files)
            self.runs["prediction"] = self.root / "prediction"
        self.layers = result.get("layer_map", self.layers)
        return Path(result["model"])

    def score(self, folder: Path) -> dict[str, float]:
        evaluating = compose(EvaluateSettings, model_dir=str(folder), **self._reading())
        scores = evaluate_model(evaluating)["metrics"]
        logger.info("%s: %s", folder, "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        return scores

    def predict(self, student: Path) -> None:
        """GLUE's prediction files, where there is a test set, or SQuAD's answers to the dev set."""
        try:
            self.data.dev if self.data.task.kind == "span" else self.data.test  # noqa: B018
        except InputError as error:
            logger.info("no prediction files: %s", error)
            return
        predicting = compose(PredictSettings, model_dir=str(student), output_dir="predictions", **self._reading())
        self.steps.run_program("predictions", predict, predicting, model=student, **self.data_files)

    def _reading(self) -> dict[str, Any]:
        """The settings of data and devices."""
        return flat_values(self.reading) | flat_values(self.distilling.run.devices)


def _write_report(job: _TaskSteps, models: dict[str, Path], rows: list[dict[str, Any]]) -> Path:
    example = next(iter(job.data.dev))
    # Contexts are too long for a plot.
    text, pair = (example.question, None) if job.data.task.kind == "span" else (example.text, example.text_pair)
    plots = plot_attention_of(
        models["teacher"], models["student"], text, pair, job.layers, job.seq_len, job.root / "attention.png"
    )
    runs = list(job.runs.values())
    report = write_report(
        job.root,
        f"TinyBERT on {job.data.task.name}",
        rows,
        {stage: run / "metrics.jsonl" for stage, run in job.runs.items()},
        [(f"Attention of teacher and student: “{text}”", path) for path in plots],
        read_json(runs[-1] / "run.json")["settings"],
        diagnose(models["teacher"], models["student"], job.data, job.layers, job.seq_len),
    )
    return report.html
