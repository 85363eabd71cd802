"""Everything for one task in one call: augment, distil, evaluate, predict, convert, report."""

import dataclasses
from pathlib import Path
from typing import Any

from tinybert_tf.augmentation.augment import augment_task
from tinybert_tf.augmentation.settings import AugmentSettings
from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.data import load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.evaluate.predict import PredictSettings, predict
from tinybert_tf.files import read_json
from tinybert_tf.pipeline.diagnosis import diagnose
from tinybert_tf.pipeline.steps import Steps, open_devices
from tinybert_tf.pipeline.summary import FILES, convert, measure, model_row, plot_attention_of
from tinybert_tf.report import write_report
from tinybert_tf.settings import setting
from tinybert_tf.train.stages import DistillSettings, distill_task
from tinybert_tf.train.sweep import SweepSettings, sweep


@dataclasses.dataclass(frozen=True)
class RunTaskSettings(SweepSettings):
    stage: str = setting("both", "intermediate, prediction or both")
    sweep: bool = setting(False, "choose batch size and learning rate of the prediction stage on dev, over the grid")
    masked_lm: str = setting("none", "augment the training set with this model directory's masked-LM head")
    word_vectors: str = setting("none", "augment the training set with this GloVe or word2vec text file")
    copies: int = setting(20, "augmented copies of a row")


def run_task(settings: RunTaskSettings) -> dict:
    """The whole of stage 2 for a task; the result line of `bin/run_task.py`.

    A step is skipped when its output is complete and its inputs are unchanged; one that was cut off goes on where it was.
    """
    open_devices(settings)
    job = _Job(settings)
    augmented = job.augment()
    models = {"teacher": job.teacher, "student": job.distil(augmented)}
    scores = job.steps.run(
        "scores", lambda _: {name: job.score(folder) for name, folder in models.items()}, {}, **models
    )
    job.predict(models["student"])
    convert_all = lambda output: convert(models, output, job.seq_len, job.data.train)
    files = job.steps.run("tflite", convert_all, {"seq_len": job.seq_len, "modes": FILES}, **models)
    measured = job.steps.run("latency", lambda _: measure(files), {}, **files)
    metric = job.data.task.main_metric
    rows = [
        model_row(name, folder, scores[name][metric], scores["teacher"][metric], job.seq_len, measured)
        for name, folder in models.items()
    ]
    report = _write_report(job, models, rows)
    return {
        "task": settings.task,
        "score": scores["student"][metric],
        "metrics": scores["student"],
        "teacher_score": scores["teacher"][metric],
        "student_score": scores["student"][metric],
        "retention": rows[1]["retention"],
        "model": str(models["student"]),
        "report": str(report),
    }


class _Job:
    def __init__(self, settings: RunTaskSettings):
        self.settings, self.root = settings, Path(settings.output_dir)
        self.teacher = resolve_directory(settings.teacher)
        self.data = load_task(settings.task, settings.data_dir, settings)
        self.seq_len = settings.seq_len or self.data.task.seq_len
        self.steps = Steps(self.root)

    def augment(self) -> Path | None:
        own = self.settings
        if own.masked_lm == own.word_vectors == "none":
            return None
        if own.task in CUSTOM_TASKS:
            raise InputError(f"--masked_lm and --word_vectors augment GLUE's and SQuAD's tasks, not --task={own.task}")
        augmenting = AugmentSettings(
            task=own.task, data_dir=own.data_dir, output_dir="", masked_lm=own.masked_lm, word_vectors=own.word_vectors,
            copies=own.copies, seed=own.seed, max_train_examples=own.max_train_examples,
        )  # fmt: skip
        sources = {name: getattr(own, name) for name in ("masked_lm", "word_vectors") if getattr(own, name) != "none"}
        self.steps.run_program("augmented", augment_task, augmenting, **sources, **self._data_files())
        return self.root / "augmented"

    def distil(self, augmented: Path | None) -> Path:
        """Both stages, the second one perhaps as a sweep; the student's model directory."""
        names = [field.name for field in dataclasses.fields(DistillSettings)]
        shared = {name: getattr(self.settings, name) for name in names} | {"teacher": str(self.teacher)}
        if augmented:
            shared |= {"augmented_data_dir": str(augmented), "max_train_examples": None}
        files = {"teacher": self.teacher, "augmented": augmented} | self._data_files()
        if self.settings.stage in ("intermediate", "both"):
            first = DistillSettings(**shared | {"stage": "intermediate"})
            student = shared["student"] if Path(shared["student"]).is_dir() else None
            made = self.steps.run_program("intermediate", distill_task, first, student=student, **files)
            shared["student"] = made["model"]
        if self.settings.stage == "intermediate":
            return Path(shared["student"])
        files["student"] = shared["student"]
        if self.settings.sweep:
            grid = {name: getattr(self.settings, name) for name in ("batch_sizes", "learning_rates", "seeds")}
            second = SweepSettings(**shared | grid | {"stage": "prediction"})
            return Path(self.steps.run_program("sweep", sweep, second, **files)["model"])
        second = DistillSettings(**shared | {"stage": "prediction"})
        return Path(self.steps.run_program("prediction", distill_task, second, **files)["model"])

    def score(self, folder: Path) -> dict[str, float]:
        scores = evaluate_model(EvaluateSettings(model_dir=str(folder), **self._reading()))["metrics"]
        print(f"{folder}: {'  '.join(f'{name} {value:.4f}' for name, value in scores.items())}", flush=True)
        return scores

    def predict(self, student: Path) -> None:
        """GLUE's prediction files, where there is a test set, or SQuAD's answers to the dev set."""
        try:
            self.data.dev if self.data.task.kind == "span" else self.data.test  # noqa: B018
        except InputError as error:
            print(f"no prediction files: {error}", flush=True)
            return
        predicting = PredictSettings(model_dir=str(student), output_dir="predictions", **self._reading())
        self.steps.run_program("predictions", predict, predicting, model=student, **self._data_files())

    def _reading(self) -> dict[str, Any]:
        """The settings that say which rows are read and how."""
        names = ("task", "data_dir", "seq_len", "strategy", "num_devices")
        names += tuple(field.name for field in dataclasses.fields(CustomFiles))
        return {name: getattr(self.settings, name) for name in names}

    def _data_files(self) -> dict[str, str]:
        if self.settings.task in CUSTOM_TASKS:
            return {"train": self.settings.train_file, "dev": self.settings.dev_file}
        if self.settings.data_dir is None:
            return {}
        folder = Path(self.settings.data_dir) / self.data.task.folder
        return {"data": str(folder if folder.is_dir() else self.settings.data_dir)}


def _write_report(job: _Job, models: dict[str, Path], rows: list[dict[str, Any]]) -> Path:
    maps = job.root / "attention.png"
    example = next(iter(job.data.dev))
    # A context is too long to be looked at.
    text, pair = (example.question, None) if job.data.task.kind == "span" else (example.text, example.text_pair)
    plot_attention_of(models["teacher"], models["student"], text, pair, job.settings.layer_map, maps)
    runs = [run for run in ("intermediate", "prediction") if (job.root / run / "metrics.jsonl").is_file()]
    report = write_report(
        job.root,
        f"TinyBERT on {job.settings.task}",
        rows,
        {run: job.root / run / "metrics.jsonl" for run in runs},
        [(f"Attention of teacher and student: “{text}”", maps)],
        read_json(job.root / runs[-1] / "run.json")["settings"] if runs else {},
        diagnose(models["teacher"], models["student"], job.data, job.settings.layer_map, job.seq_len),
    )
    return report.html
