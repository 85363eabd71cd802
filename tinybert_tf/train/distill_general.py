"""General distillation, TinyBERT's stage 1: a student learns from a pretrained teacher over plain text."""

import dataclasses
import functools
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.bert import BertModel
from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.corpus import Corpus, read_corpus
from tinybert_tf.distill import Distiller
from tinybert_tf.distribution import distributed
from tinybert_tf.errors import InputError
from tinybert_tf.settings import nested, setting
from tinybert_tf.train import plan
from tinybert_tf.train.card import place_name, write_card
from tinybert_tf.train.fit import Evaluation, fit
from tinybert_tf.train.loss_scale import relative_weights
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.settings import ADAPTIVE, MatchingSettings, RunSettings
from tinybert_tf.train.student import INIT_HELP, make_student
from tinybert_tf.train.text import TextSettings, check_vocabulary, held_out_means, training_batches


@dataclasses.dataclass(frozen=True)
class GeneralSettings:
    """Settings of bin/distill_general.py."""

    text: TextSettings = nested(TextSettings)
    matching: MatchingSettings = nested(MatchingSettings)
    run: RunSettings = nested(RunSettings)
    teacher: str = setting("", "a pretrained model directory or preset", required=True)
    student: str = setting(
        "tinybert4",
        "a model directory to continue from, or a size: a name, LAYERSxHIDDENxHEADSxINTERMEDIATE, LAYERSxteacher",
    )
    init: str = setting("auto", f"the student's weights: a model directory to continue from, or {INIT_HELP}")
    accumulation_steps: int = setting(1, "parts that a batch is computed in, one after the other, to save memory")

    def __post_init__(self):
        if self.matching.layer_map in ADAPTIVE:
            raise InputError("is found on a task: take bin/distill_task.py", "layer_map", self.matching.layer_map)
        if not self.matching.compares_layers:
            raise InputError(
                "compares no layers, and there are no labels in plain text; take one of tinybert, minilm, minilmv2, mobilebert",
                "objective",
                self.matching.objective,
            )

    def check_batch_size(self, replicas: int) -> None:
        """Raises InputError for a batch that cannot be divided equally."""
        size = self.text.train_batch_size
        if self.accumulation_steps < 1 or size % (self.accumulation_steps * replicas):
            raise InputError(
                f"it cannot be divided into `accumulation_steps={self.accumulation_steps}` equal parts on each of {replicas} "
                "devices; change one of them",
                "train_batch_size",
                size,
            )


def distill_general(settings: GeneralSettings) -> dict:
    """Stage 1 of TinyBERT: intermediate losses over plain text.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/distill_general.py`. The score is 1 / (1 + distillation loss on held-out text): 1 for a student
        that equals its teacher in what is matched.

    Raises:
        InputError: a corpus, networks or settings that do not fit each other.
    """
    if finished := finished_result(settings):
        return finished
    text, matching = settings.text, settings.matching
    with distributed(settings.run.devices, text.train_batch_size) as strategy:
        settings.check_batch_size(strategy.num_replicas_in_sync)
        keras.utils.set_random_seed(settings.run.seed)
        corpus = read_corpus(text.corpus)
        teacher_dir = resolve_directory(settings.teacher)
        check_vocabulary(corpus, teacher_dir)
        earlier = recorded(settings)
        precision = Precision.of(earlier, settings.run.dtype, matching.teacher_dtype)
        teacher = load_model(teacher_dir, head="encoder", dtype=precision.teacher_dtype)
        student, projections = _student(settings, teacher, teacher_dir, corpus, precision)
        weights = earlier.get("loss_weights", {})
        if matching.loss_scale == "relative" and not weights:
            depth = student.config.num_hidden_layers
            weights = relative_weights(teacher, depth, matching.layers, _first_rows(corpus, settings))
        distiller = Distiller(teacher, student, matching.layer_objective(weights), projections)
        read, steps = training_batches(text, settings.run, corpus, corpus.batches)

        def batches(first: int) -> tf.data.Dataset:
            return read(first).map(_with_weight, num_parallel_calls=tf.data.AUTOTUNE)

        optimizer = bert_adamw(text.learning_rate, steps, warmup_proportion=text.warmup_proportion)
        distiller.compile(
            precision.optimizer(optimizer),
            accumulation_steps=settings.accumulation_steps,
            student_dropout=matching.has_dropout,
        )
        losses = held_out_means(distiller, corpus, corpus.batches, _with_weight)
        run = Run(settings, dataclasses.asdict(precision) | {"loss_weights": weights})

        def keep(name: str) -> None:
            run.save(student, name, teacher_dir, also=distiller.save_projections)

        evaluation = Evaluation(
            run, "general", lambda: _scored(losses()), lambda: keep("model"), steps, text.evaluations,
            split="held_out", before_training=True,
        )  # fmt: skip
        fit(
            run, "general", distiller, batches, steps, batch_size=text.train_batch_size, evaluation=evaluation,
            frozen=teacher, save_every_seconds=settings.run.save_every_seconds,
        )  # fmt: skip
        if run.plan is not None:
            return {"task": "general"} | plan.summary(run.plan, 4 * student.count_params())
        keep("last")
        scores = evaluation.best
        write_card(run, student, f"{corpus.examples:,} examples of plain text ({place_name(text.corpus)})")
        result = {"task": "general", "score": scores["score"], "metrics": scores, "model": str(run.model_dir)}
        return run.finish(result | {"steps": steps})


def _student(
    settings: GeneralSettings, teacher: BertModel, teacher_dir: Path, corpus: Corpus, precision: Precision
) -> tuple[BertModel, list[Projection] | None]:
    """As `make_student`; `init` may name the directory instead of `student`."""
    name, init = (settings.init, "auto") if Path(settings.init).is_dir() else (settings.student, settings.init)
    rows = functools.partial(_first_rows, corpus, settings)
    matching = settings.matching
    family, seq_len = matching.student_family, corpus.seq_len
    return make_student(teacher, teacher_dir, name, init, matching.layers, rows, precision.dtype, family, seq_len)


def _first_rows(corpus: Corpus, settings: GeneralSettings) -> tf.data.Dataset:
    """Text for the projection and for the variance of the loss terms."""
    return corpus.batches(batch_size=32, shuffle_seed=settings.run.seed)


def _scored(losses: dict[str, float]) -> dict[str, float]:
    return {"score": 1 / (1 + losses["loss"])} | losses


def _with_weight(features):
    """(features, label, weight) for Keras; there is no label, and rows that only fill up a batch have the weight 0."""
    filled = features["input_mask"][:, 0]
    return features, tf.zeros_like(filled), tf.cast(filled, tf.float32)
