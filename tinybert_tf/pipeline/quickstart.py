"""All of TinyBERT on the built-in sample in less than ten minutes on two cores; each step calls one of the programs."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from tinybert_tf.augmentation import Augmentation, AugmentSettings, augment_task
from tinybert_tf.checkpoints import read_config, resolve_directory
from tinybert_tf.corpus import CorpusSettings, make_corpus
from tinybert_tf.data import get_task, load_task
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import word_scores
from tinybert_tf.evaluate.evaluate import EvaluateSettings, evaluate_model
from tinybert_tf.files import atomic_write, read_json
from tinybert_tf.pipeline.diagnosis import diagnose
from tinybert_tf.pipeline.steps import Steps, data_files, open_devices
from tinybert_tf.pipeline.summary import FILES, add_to_card, convert, measure, model_row, plot_attention_of
from tinybert_tf.report import write_report
from tinybert_tf.settings import compose, flat_values, nested, setting
from tinybert_tf.train.distill_general import GeneralSettings, distill_general
from tinybert_tf.train.distill_settings import DistillSettings
from tinybert_tf.train.distill_task import distill_task
from tinybert_tf.train.finetune import FinetuneSettings, finetune
from tinybert_tf.train.pretrain import PretrainSettings, pretrain
from tinybert_tf.train.settings import ExampleSettings, RunSettings
from tinybert_tf.vocabulary import SPECIAL_TOKENS

logger = logging.getLogger(__name__)

# As deep as TinyBERT4, and with less than a quarter of MiniLM's encoder FLOPs.
_DEPTH, _WIDTH, _INTERMEDIATE = 4, 240, 840
_TEACHER = "minilm_l6"
# Where that one is not installed, a teacher of this size learns from the sample's text.
_OWN_TEACHER = "bert_small"


@dataclasses.dataclass(frozen=True)
class QuickstartSettings:
    """Settings of bin/quickstart.py."""

    data: DataSettings = nested(DataSettings, task="sample")
    examples: ExampleSettings = nested(ExampleSettings, evaluations=4)
    run: RunSettings = nested(RunSettings, output_dir="runs/quickstart", dtype="auto")
    teacher: str = setting(_TEACHER, "a pretrained model directory or preset")
    teacher_epochs: float = setting(1.25, "teacher fine-tuning epochs")
    teacher_learning_rate: float = setting(1e-4, "teacher fine-tuning learning rate")
    general_epochs: float = setting(1.0, "general distillation epochs, on the text of the training set")
    masked_lm_epochs: float = setting(1.0, "epochs of the masked LM that augments, on the same text")
    copies: int = setting(1, "augmented copies of a training example")
    intermediate_epochs: float = setting(0.75, "epochs of the student's first stage, on the augmented set")
    intermediate_learning_rate: float = setting(3e-4, "learning rate of general distillation and of the first stage")
    prediction_epochs: float = setting(0.75, "epochs of the student's second stage, on the augmented set")
    prediction_learning_rate: float = setting(1e-4, "learning rate of the student's second stage")
    no_teacher_learning_rate: float = setting(5e-4, "learning rate of the student without a teacher")


def quickstart(settings: QuickstartSettings) -> dict:
    """Runs everything and writes it under `settings.run.output_dir`.

    A finished step is not repeated; an interrupted one is resumed.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/quickstart.py`.

    Raises:
        InputError: a task that it cannot run.
    """
    name = settings.data.task
    if name in CUSTOM_TASKS or get_task(name).kind == "span":
        raise InputError("the quickstart takes GLUE's tasks; run this one with bin/run_task.py", "task", name)
    if settings.run.dry_run:
        raise InputError("the quickstart has none; try its programs one by one", "dry_run", True)
    open_devices(settings.run.devices)
    job = _Quickstart(settings)
    pretrained = job.pretrained()
    corpus = job.corpus(pretrained / "vocab.txt" if pretrained else job.vocabulary())
    pretrained = pretrained or job.pretrain(corpus)
    models = {"teacher": job.finetune(pretrained)}
    general, general_steps = job.distill_general(pretrained, corpus)
    augmented = job.augment(pretrained, corpus)
    models["student"], steps = job.distill(models["teacher"], general, augmented)
    models["student without teacher"] = job.train_alone(models["teacher"], general_steps + steps)
    scores = job.steps.run("scores", lambda _: job.scores(models), {}, **models)
    deployed = {name: models[name] for name in ("teacher", "student")}
    convert_all = lambda output: convert(deployed, output, job.seq_len, job.data.train)
    files = job.steps.run("tflite", convert_all, {"seq_len": job.seq_len, "modes": FILES}, **deployed)
    measured = job.steps.run("latency", lambda output: measure(files), {}, **files)
    add_to_card("student", models["student"], measured)
    rows = [
        model_row(name, folder, scores[name], scores["teacher"], job.seq_len, measured)
        for name, folder in models.items()
    ]
    read = {name: job.common[name] for name in ("task", "data_dir", "max_train_examples")}
    words = job.steps.run("words", lambda _: job.word_score(), read)
    verdict = verdict_of(rows, words)
    rows.append({"model": "word counts (TF-IDF)", "score": words})
    result = _result(name, rows) | {"word_score": words, "verdict": verdict}
    return result | {"report": str(_write_report(job, models, rows, verdict))}


class _Quickstart:
    """The steps of one quickstart; each returns the directory that the next ones read."""

    def __init__(self, settings: QuickstartSettings):
        self.settings, self.root = settings, Path(settings.run.output_dir)
        self.task, self.data_dir = settings.data.task, settings.data.data_dir
        self.data = load_task(self.task, self.data_dir)
        self.source = self.task if self.data_dir is None else [self.task, str(self.data_dir)]
        self.seq_len = settings.data.seq_len or self.data.task.seq_len
        self.steps = Steps(self.root, data_files(settings.data, self.data.task.folder))
        self.common = flat_values(settings.data) | flat_values(settings.examples) | flat_values(settings.run)
        names = ("seed", "max_steps", "strategy", "num_devices", "save_every_seconds", "dtype")
        self.on_text = {name: self.common[name] for name in names}

    def pretrained(self) -> Path | None:
        """The pretrained teacher, if it is available."""
        try:
            return resolve_directory(self.settings.teacher)
        except InputError as error:
            if self.settings.teacher != _TEACHER:
                raise
            logger.info("no pretrained teacher (%s); a small one learns from the training set's text instead", error)
            return None

    def pretrain(self, corpus: Path) -> Path:
        """A teacher pretrained on the training set only, in place of the preset."""
        pretraining = compose(
            PretrainSettings, **self.on_text, output_dir="pretrained", corpus=str(corpus), model=_OWN_TEACHER,
            epochs=self.settings.masked_lm_epochs, train_batch_size=16, learning_rate=3e-4, evaluations=4,
        )  # fmt: skip
        return Path(self.steps.run_program("pretrained", pretrain, pretraining, corpus=corpus)["model"])

    def finetune(self, pretrained: Path) -> Path:
        finetuning = compose(
            FinetuneSettings, **self.common | {"output_dir": "teacher"}, model=str(pretrained),
            epochs=self.settings.teacher_epochs, learning_rate=self.settings.teacher_learning_rate,
        )  # fmt: skip
        return Path(self.steps.run_program("teacher", finetune, finetuning, pretrained=pretrained)["model"])

    def distill_general(self, pretrained: Path, corpus: Path) -> tuple[Path, int]:
        """Stage 1: the general student, and the number of its steps."""
        heads = read_config(pretrained)[0].num_attention_heads
        distilling = compose(
            GeneralSettings, **self.on_text, output_dir="general", corpus=str(corpus), teacher=str(pretrained),
            student=f"{_DEPTH}x{_WIDTH}x{heads}x{_INTERMEDIATE}", epochs=self.settings.general_epochs,
            train_batch_size=16, learning_rate=self.settings.intermediate_learning_rate, evaluations=4,
        )  # fmt: skip
        result = self.steps.run_program("general", distill_general, distilling, teacher=pretrained, corpus=corpus)
        return Path(result["model"]), result.get("steps", 0)  # a run of an earlier version does not say

    def augment(self, pretrained: Path, corpus: Path) -> Path:
        """Augmented rows, by a masked LM that is the pretrained teacher with a head that is trained on the sample's text."""
        masked_lm = pretrained
        if read_config(pretrained)[1] != "masked_lm":
            pretraining = compose(
                PretrainSettings, **self.on_text, output_dir="masked_lm", corpus=str(corpus), model=str(pretrained),
                freeze_encoder=True,
                epochs=self.settings.masked_lm_epochs, train_batch_size=16, learning_rate=1e-3, evaluations=2,
            )  # fmt: skip
            masked_lm = Path(
                self.steps.run_program("masked_lm", pretrain, pretraining, model=pretrained, corpus=corpus)["model"]
            )
        augmenting = AugmentSettings(
            task=self.task, data_dir=self.data_dir, output_dir="augmented", masked_lm=str(masked_lm), word_vectors="none",
            max_train_examples=self.settings.examples.max_train_examples, batch_size=128,
            algorithm=Augmentation(copies=self.settings.copies, seed=self.settings.run.seed),
        )  # fmt: skip
        self.steps.run_program("augmented", augment_task, augmenting, masked_lm=masked_lm)
        return self.root / "augmented"

    def distill(self, teacher: Path, general: Path, augmented: Path) -> tuple[Path, int]:
        """Stage 2: the student, and the number of its steps."""
        own = self.settings
        # Augmented rows are made of so many; scores are learned from the task's own rows.
        limit = own.examples.max_train_examples if self.data.task.kind == "regression" else None
        distilling = compose(
            DistillSettings, **self.common | {"output_dir": "student", "max_train_examples": limit}, teacher=str(teacher),
            student=str(general), augmented_data_dir=str(augmented),
            intermediate_epochs=own.intermediate_epochs, intermediate_learning_rate=own.intermediate_learning_rate,
            prediction_epochs=own.prediction_epochs, prediction_learning_rate=own.prediction_learning_rate,
            allow_weak_teacher=True,
        )  # fmt: skip
        result = self.steps.run_program(
            "student", distill_task, distilling, teacher=teacher, general=general, data=augmented
        )
        return Path(result["model"]), result["steps"]

    def train_alone(self, teacher: Path, steps: int) -> Path:
        """The baseline: the same architecture from random weights, on labels, for the steps of all of the student's stages."""
        config = read_config(teacher)[0]
        rows = sum(1 for _ in self.data.train.limit(self.settings.examples.max_train_examples))
        training = compose(
            FinetuneSettings, **self.common | {"output_dir": "no_teacher", "max_steps": steps},
            learning_rate=self.settings.no_teacher_learning_rate,
            model=f"{_DEPTH}x{_WIDTH}x{config.num_attention_heads}x{_INTERMEDIATE}", vocab=str(teacher / "vocab.txt"),
            epochs=steps * self.settings.examples.train_batch_size / rows + 1,
        )  # fmt: skip
        return Path(self.steps.run_program("no_teacher", finetune, training, vocabulary=teacher / "vocab.txt")["model"])

    def scores(self, models: dict[str, Path]) -> dict[str, float]:
        """The main metric of each model on dev, from what was saved."""
        found = {}
        shared = {name: self.common[name] for name in ("task", "data_dir", "strategy", "num_devices")}
        for name, folder in models.items():
            evaluating = compose(EvaluateSettings, **shared, model_dir=str(folder), seq_len=self.seq_len)
            found[name] = evaluate_model(evaluating)["score"]
            logger.info("%s: %.4f", name, found[name])
        return found

    def word_score(self) -> float:
        """The main metric on dev of a linear model of word counts."""
        train = list(self.data.train.limit(self.settings.examples.max_train_examples))
        score, _ = word_scores(self.data.task, train, list(self.data.dev))
        return score

    def vocabulary(self) -> Path:
        """The words of the training set, as the vocabulary of a teacher that is pretrained here."""

        def write(output: Path) -> None:
            words = {word for row in self.data.train for word in f"{row.text} {row.text_pair or ''}".lower().split()}
            with atomic_write(output) as aside:
                aside.write_text("\n".join([*SPECIAL_TOKENS, *sorted(words)]) + "\n", encoding="utf-8")

        self.steps.run("vocab.txt", write, self.source)
        return self.root / "vocab.txt"

    def corpus(self, vocabulary: Path) -> Path:
        """The text of the training set as a corpus."""

        def write(output: Path) -> None:
            with atomic_write(output) as aside, aside.open("w", encoding="utf-8") as file:
                for row in self.data.train:
                    file.writelines(f"{part}\n" for part in (row.text, row.text_pair) if part)

        self.steps.run("text.txt", write, self.source)
        text = self.root / "text.txt"
        making = CorpusSettings(
            input=str(text), vocab=str(vocabulary), output_dir="corpus", max_seq_length=64, held_out=0.05,
            seed=self.settings.run.seed,
        )  # fmt: skip
        self.steps.run_program("corpus", make_corpus, making, text=text, vocabulary=vocabulary)
        return self.root / "corpus"


def _result(task: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    teacher, student, alone, *_ = rows
    return {
        "task": task,
        "score": student["score"],
        "metrics": {"score": student["score"]},
        "teacher_score": teacher["score"],
        "student_score": student["score"],
        "no_teacher_score": alone["score"],
        "retention": student["retention"],
        "teacher_params": teacher["parameters"],
        "student_params": student["parameters"],
        **{name: student[name] for name in ("float_mb", "int8_mb", "float_ms", "int8_ms")},
    }


def verdict_of(rows: list[dict[str, Any]], word_score: float) -> str:
    """What the teacher was good for, in one line.

    Args:
        rows: of teacher, student and student without a teacher, with scores from 0 to 1.
        word_score: of word counts.
    """
    student, alone = (100 * row["score"] for row in rows[1:3])
    gained = student - alone
    worth = f"the teacher is worth {gained:.1f} points" if gained > 0 else "the teacher did not help"
    return (
        f"{worth}: the student scores {student:.1f}, the same network, trained as long without a teacher, {alone:.1f}, "
        f"counting words {100 * word_score:.1f}"
    )


def _write_report(job: _Quickstart, models: dict[str, Path], rows: list[dict[str, Any]], verdict: str) -> Path:
    example = next(iter(job.data.dev))
    plots = plot_attention_of(
        models["teacher"], models["student"], example.text, example.text_pair, "uniform", job.seq_len,
        job.root / "attention.png",
    )  # fmt: skip
    runs = ("teacher", "general", "student", "no_teacher")
    report = write_report(
        job.root,
        f"TinyBERT quickstart: {job.task}",
        rows,
        {run: job.root / run / "metrics.jsonl" for run in runs},
        [(f"Attention of teacher and student: “{example.text}”", path) for path in plots],
        read_json(job.root / "student" / "run.json")["settings"],
        diagnose(models["teacher"], models["student"], job.data, "uniform", job.seq_len),
        verdict,
    )
    return report.html
