"""General distillation, TinyBERT's stage 1: a student learns from a pretrained teacher over plain text."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.checkpoints import load_model, resolve_directory
from tinybert_tf.corpus import read_corpus
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.distribution import distributed
from tinybert_tf.errors import InputError
from tinybert_tf.settings import setting
from tinybert_tf.train.corpus import CorpusSettings, check_vocabulary, held_out_means, training_batches
from tinybert_tf.train.fit import Evaluation, fit
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import TEACHER_DTYPE_HELP, Precision
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.student import FAMILY_HELP, INIT_HELP, make_student


@dataclasses.dataclass(frozen=True)
class GeneralSettings(CorpusSettings):
    teacher: str = setting("", "a pretrained model directory or preset", required=True)
    student: str = setting("tinybert4", "a named size, or a model directory to continue from")
    init: str = setting("auto", f"the student's weights: a model directory to continue from, or {INIT_HELP}")
    student_family: str = setting("auto", FAMILY_HELP)
    accumulation_steps: int = setting(1, "parts that a batch is computed in, one after the other, to save memory")
    layer_map: str = setting("uniform", "uniform, top or bottom")
    student_dropout: bool = setting(False, "keep the student's dropout on, as the published code does")
    padding: str = setting("exclude", "exclude padding from the losses, or reference: as the published code")
    teacher_dtype: str = setting("auto", f"precision of the teacher: {TEACHER_DTYPE_HELP}")

    def check_batch_size(self, replicas: int) -> None:
        if self.accumulation_steps < 1 or self.train_batch_size % (self.accumulation_steps * replicas):
            raise InputError(
                f"--train_batch_size={self.train_batch_size} cannot be divided into --accumulation_steps="
                f"{self.accumulation_steps} equal parts on each of {replicas} devices; change one of them"
            )


def distill_general(settings: GeneralSettings) -> dict:
    """Stage 1 of TinyBERT, intermediate losses only; the result of `bin/distill_general.py`.

    The score is 1 / (1 + distillation loss on held-out text): 1 for a student that equals its teacher in what is matched.
    """
    if finished := finished_result(settings):
        return finished
    with distributed(settings, settings.train_batch_size) as strategy:
        settings.check_batch_size(strategy.num_replicas_in_sync)
        keras.utils.set_random_seed(settings.seed)
        corpus = read_corpus(settings.corpus)
        teacher_dir = resolve_directory(settings.teacher)
        check_vocabulary(corpus, teacher_dir)
        precision = Precision.of(settings, recorded(settings))
        teacher = load_model(teacher_dir, head="encoder", dtype=precision.teacher_dtype)
        name = settings.init if Path(settings.init).is_dir() else settings.student
        rows = lambda: corpus.batches(batch_size=32, shuffle_seed=settings.seed)
        student, projections = make_student(
            teacher,
            teacher_dir,
            name,
            settings.init,
            settings.layer_map,
            rows,
            precision.dtype,
            settings.student_family,
        )
        objective = TinyBertObjective.intermediate(layers=settings.layer_map, padding=settings.padding)
        distiller = Distiller(teacher, student, objective, projections)
        read, steps = training_batches(settings, corpus, corpus.batches)
        batches = lambda first: read(first).map(_with_weight, num_parallel_calls=tf.data.AUTOTUNE)
        optimizer = bert_adamw(settings.learning_rate, steps, warmup_proportion=settings.warmup_proportion)
        distiller.compile(
            precision.optimizer(optimizer),
            accumulation_steps=settings.accumulation_steps,
            student_dropout=settings.student_dropout,
        )
        losses = held_out_means(distiller, corpus, corpus.batches, _with_weight)
        run = Run(settings.output_dir, settings, dataclasses.asdict(precision))
        keep = lambda name: run.save(student, name, teacher_dir, also=distiller.save_projections)
        evaluation = Evaluation(
            run, "general", lambda: _scored(losses()), lambda: keep("model"), steps, settings.evaluations,
            split="held_out", before_training=True,
        )  # fmt: skip
        fit(run, "general", distiller, batches, steps, batch_size=settings.train_batch_size, evaluation=evaluation,
            frozen=teacher, save_every_seconds=settings.save_every_seconds)  # fmt: skip
        keep("last")
        scores = evaluation.best
        return run.finish({"task": "general", "score": scores["score"], "metrics": scores, "model": str(run.model_dir)})


def _scored(losses: dict[str, float]) -> dict[str, float]:
    return {"score": 1 / (1 + losses["loss"])} | losses


def _with_weight(features):
    """(features, label, weight) for Keras; there is no label, and rows that only fill up a batch have the weight 0."""
    filled = features["input_mask"][:, 0]
    return features, tf.zeros_like(filled), tf.cast(filled, tf.float32)
