"""Task distillation, TinyBERT's stage 2: a student learns a task from its fine-tuned teacher."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tinybert_tf.bert import BertModel, BiLstmModel
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.checkpoints.projections import Projection
from tinybert_tf.data import TaskData
from tinybert_tf.distill import check_inputs, layer_map
from tinybert_tf.distill.soft_map import LayerWeights, LearnedMapObjective
from tinybert_tf.distribution import best_strategy, distributed, make_strategy
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.metrics import retention
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.files import remove
from tinybert_tf.settings import replace
from tinybert_tf.train.distill_settings import TEACHER_HELP, DistillSettings
from tinybert_tf.train.gradual import pruned_student
from tinybert_tf.train.logits_file import check_rows, given_logits, read_logits
from tinybert_tf.train.loss_scale import relative_weights
from tinybert_tf.train.map_search import searched_map
from tinybert_tf.train.map_trials import MapTrials, Start, TrialStage
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.reading import cache_folder
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.student import is_loaded, make_student, vocabulary_of
from tinybert_tf.train.teachers import check_mean, load_teachers, mean_of, score_of_teachers, stand_in
from tinybert_tf.train.trainer import Trainer
from tinybert_tf.train.training_set import SpanTrainingSet, TrainingSet, training_set

logger = logging.getLogger(__name__)


def distill_task(settings: DistillSettings) -> dict:
    """Distills a fine-tuned teacher into a student on a task, in one or both of TinyBERT's stages.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/distill_task.py`: task, score, metrics, model, steps, teacher_score, retention.

    Raises:
        InputError: networks, files or settings that do not fit each other, or a teacher that has not learned the task.
    """
    if finished := finished_result(settings):
        return finished
    if settings.teacher_logits is not None:
        return _learn_logits(settings, settings)
    if not settings.teacher:
        raise InputError(f"is missing; it is {TEACHER_HELP}", "teacher")
    given = settings
    if settings.pruning.prune_to is not None:
        _open_devices(settings)
        settings = pruned_student(settings, distill_task)
    if settings.compares_logits_alone and _has_own_vocabulary(settings):
        return _learn_logits(settings, given)
    with distributed(settings.run.devices, settings.examples.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        return _learn_layers(settings, given)


def _learn_layers(settings: DistillSettings, given: DistillSettings) -> dict:
    """The stages of a student that has its teacher's vocabulary.

    Args:
        settings: as for `distill_task`; with `prune_to`, of the student that is pruned.
        given: as the user gave them.
    """
    data, earlier = settings.data.load(), recorded(given)
    settings.check_temperature(data.task.kind)
    precision = Precision.of(earlier, settings.run.dtype, settings.matching.dtype_of_teacher)
    if len(settings.teachers) > 1:
        check_mean(data.task, settings)
        settings.check_learns_logits(data.task.kind)
    teachers = load_teachers(data, settings, precision)
    first, teacher = teachers[0], teachers[0].model
    teacher_score = score_of_teachers(teachers, settings, earlier)
    training = training_set(given, first, has_teacher=True)
    shared = None
    if settings.examples.cache_dir and not settings.run.dry_run:
        shared = cache_folder(settings.run.output_dir, settings.examples.cache_dir)
    new_student = functools.partial(
        make_student,
        teacher,
        resolve_directory(settings.teachers[0], "--teacher"),
        settings.student,
        settings.init,
        rows=training.texts,
        dtype=precision.dtype,
        family=settings.matching.student_family,
        seq_len=first.seq_len,
        pairs=data.task.has_pairs,
    )
    student, projections = new_student(settings.matching.layers, cache_dir=shared)
    if isinstance(student, BiLstmModel):
        _check_bilstm(settings)
    weights = earlier.get("loss_weights", {})
    if settings.matching.loss_scale == "relative" and settings.stage != "prediction" and not weights:
        depth = student.config.num_hidden_layers
        weights = relative_weights(teacher, depth, settings.matching.layers, training.texts())
    found = {"teacher_score": teacher_score, "loss_weights": weights, "buckets": training.buckets}
    run = Run(given, dataclasses.asdict(precision) | found | _layer_map_so_far(settings, given, earlier))
    logits_of = None
    if len(teachers) > 1 and not settings.run.dry_run:
        logits_of = mean_of(teachers, given, first.ids)
    of_student = dataclasses.replace(first, model=student)
    kept = {"teacher_cache": settings.teacher_cache, "cache_dir": settings.examples.cache_dir}
    trainer = _trainer(run, settings, of_student, training, precision, logits_of=logits_of, **kept)
    if settings.matching.layer_map == "search":
        settings, projections = _with_searched_map(trainer, teacher, data, settings, new_student)
    scores = _both_stages(trainer, teacher, data, projections, settings, weights)
    kept = retention(scores[data.task.main_metric], teacher_score) if scores else None
    resolved = run.description["resolved"]
    found_map = {"layer_map": resolved["layer_map"]} if "layer_map" in resolved else {}
    return trainer.finish(scores, teacher_score=teacher_score, retention=kept or 0.0, **found_map)


def _trainer(
    run: Run,
    settings: DistillSettings,
    student: TaskModel,
    training: TrainingSet | SpanTrainingSet,
    precision: Precision,
    **teaching: Any,
) -> Trainer:
    """A `Trainer` of the student as the settings ask for it; `teaching`: its arguments about what teaches."""
    is_scored_first = settings.stage in ("prediction", "joint") and _has_head(settings.student, student.data.task.head)
    return Trainer(
        run, settings.run, student.model, training, student.scorer(student.data.dev), settings.examples.evaluations,
        student.tokenizer.spec, precision, settings.matching.has_dropout, has_learned=is_scored_first,
        quantize_aware=settings.quantize_aware, train_integers=settings.train_integers,
        weight_averaging=settings.weight_averaging, **teaching,
    )  # fmt: skip


def _layer_map_so_far(settings: DistillSettings, given: DistillSettings, earlier: Mapping) -> dict:
    """The layer map to write down from the start: that of a pruned student, or the one that a resumed run found."""
    if given.pruning.prune_to is not None:
        return {"layer_map": settings.matching.layers}
    return {"layer_map": earlier["layer_map"]} if "layer_map" in earlier else {}


def _open_devices(settings: DistillSettings) -> None:
    """Configures the devices before pruning uses any; several workers would all prune into one directory."""
    devices = settings.run.devices
    name = best_strategy() if devices.strategy == "auto" else devices.strategy
    if name == "multi_worker":
        raise InputError("prunes on one machine; take `strategy=mirrored`", "prune_to", settings.pruning.prune_to)
    make_strategy(devices.strategy, devices.num_devices)  # as `distributed` asks for it: the same object


def _check_bilstm(settings: DistillSettings) -> None:
    """What compares or changes layers is not for a BiLSTM."""
    if settings.stage != "prediction":
        raise InputError(
            "compares layers, which a BiLSTM does not have; set `stage=prediction`", "stage", settings.stage
        )
    if settings.matching.layer_map == "search":
        raise InputError("is a map of layers, which a BiLSTM does not have", "layer_map", "search")
    if settings.quantize_aware is not None:
        raise InputError("is not for a BiLSTM", "quantize_aware", settings.quantize_aware)


def _record_learned_map(run: Run, learned: LayerWeights) -> None:
    """Writes the map that was learned to run.json, unless the run was resumed after the stage that learned it."""
    if not (run.resumed is not None and run.resumed.stage == "prediction"):
        run.resolve({"layer_map": learned.layers()})
        logger.info("learned layer map  %s", ",".join(map(str, run.description["resolved"]["layer_map"])))


def _with_searched_map(
    trainer: Trainer,
    teacher: BertModel,
    data: TaskData,
    settings: DistillSettings,
    new_student: Callable[..., tuple[BertModel, list[Projection] | None]],
) -> tuple[DistillSettings, list[Projection] | None]:
    """Searches a layer map, see `searched_map`, and gives the student what it begins with for the best one.

    Returns:
        The settings with this map, and the projections that it begins with.
    """
    made, shared = Path(settings.run.output_dir) / "search", settings.examples.cache_dir
    kept_in = cache_folder(settings.run.output_dir, shared) if shared else made

    def start(layers: Sequence[int]) -> Start:
        keras.utils.set_random_seed(settings.run.seed)
        model, projections = new_student(list(layers), cache_dir=kept_in)
        return model.get_weights(), projections

    depths = trainer.model.config.num_hidden_layers, teacher.config.num_hidden_layers
    stages = {}
    if settings.stage == "both":
        objective = dataclasses.replace(settings.matching.layer_objective({}), layers=layer_map("uniform", *depths))
        epochs = settings.intermediate_epochs or data.task.intermediate_epochs
        rate, constant = settings.intermediate_learning_rate, settings.matching.is_published
        stages["intermediate"] = TrialStage(objective, trainer.training, epochs, rate, constant)
    epochs = settings.prediction_epochs or data.task.prediction_epochs
    objective = None
    if not settings.learns_labels(data.task.kind):
        objective = settings.matching.prediction_objective(settings.temperature)
    training = _prediction_training(trainer.training, data, settings)
    stages["prediction"] = TrialStage(objective, training, epochs, settings.prediction_learning_rate)
    tried = searched_map(settings, *depths, MapTrials(trainer, teacher, stages, start).score)
    best = tried[0]["layers"]
    weights, projections = start(best)
    trainer.model.set_weights(weights)
    remove(made)
    trainer.run.resolve({"layer_map": best, "searched_maps": tried})
    return replace(settings, layer_map=",".join(map(str, best))), projections


def _has_head(student: str, head: str) -> bool:
    """Whether a student is loaded with a head for the task; one of general distillation has none."""
    return is_loaded(student) and read_config(resolve_directory(student, "--student"))[1] == head


def _has_own_vocabulary(settings: DistillSettings) -> bool:
    """Whether the student is a model directory, or a preset, whose vocabulary is not the first teacher's."""
    if not is_loaded(settings.student):
        return False  # it is made here, for its teacher's vocabulary
    student = vocabulary_of(resolve_directory(settings.student, "--student"))
    return student is not None and student != vocabulary_of(resolve_directory(settings.teachers[0], "--teacher"))


def _learn_logits(settings: DistillSettings, given: DistillSettings) -> dict:
    """The prediction stage on logits that are computed beforehand: those of a file, or of teachers with other vocabularies.

    Args:
        settings: as for `distill_task`; the student is a model directory, whose vocabulary the training texts are written in.
        given: as the user gave them.
    """
    with distributed(settings.run.devices, settings.examples.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        data, earlier = settings.data.load(), recorded(given)
        settings.check_temperature(data.task.kind)
        precision = Precision.of(earlier, settings.run.dtype, settings.matching.dtype_of_teacher)
        if not is_loaded(settings.student):
            raise InputError(
                "takes vocabulary and labels from a teacher, which does not run with `teacher_logits`; give a model directory",
                "student",
                settings.student,
            )
        source = resolve_directory(settings.student, "--student")
        student = load_model(
            source,
            head=data.task.head,
            label2id=data.task.label2id or None,
            dtype=precision.dtype,
            classifier_activation=settings.matching.classifier_activation(data.task.head),
        )
        if isinstance(student, BiLstmModel):
            _check_bilstm(settings)
        tokenizer = settings.data.open_tokenizer(source)
        of_student = TaskModel.of(student, tokenizer, data, settings.data.seq_len, source=source)
        if isinstance(student, BertModel):
            check_inputs(student, "student", of_student.seq_len, data.task.has_pairs)
        settings.check_learns_logits(data.task.kind)
        training = training_set(given, of_student, has_teacher=settings.teacher_logits is None)
        teacher_score = logits_of = None
        if settings.teacher_logits is not None:
            logits = read_logits(settings.teacher_logits, data.task, of_student.ids)
            check_rows(logits, training, of_student, settings)
            logits_of = given_logits(logits)
        elif settings.teacher_cache == "none":
            raise InputError("keeps no logits, which a teacher with another vocabulary needs", "teacher_cache", "none")
        elif not settings.run.dry_run:
            check_mean(data.task, settings)
            teachers = load_teachers(data, settings, precision)
            teacher_score = score_of_teachers(teachers, settings, earlier)
            logits_of = mean_of(teachers, given, of_student.ids)
        found = {} if teacher_score is None else {"teacher_score": teacher_score}
        run = Run(given, dataclasses.asdict(precision) | found | {"buckets": training.buckets})
        trainer = _trainer(run, settings, of_student, training, precision, logits_of=logits_of)
        teacher = stand_in(len(data.task.labels) or 1)
        scores = _both_stages(trainer, teacher, data, None, settings, {})
        kept = retention(scores[data.task.main_metric], teacher_score) if scores else None
        return trainer.finish(scores, teacher_score=teacher_score, retention=kept)


def _both_stages(
    trainer: Trainer, teacher: BertModel, data: TaskData, projections, settings: DistillSettings, weights: Mapping
) -> dict[str, float] | None:
    """The stages that `settings.stage` asks for, in order; the dev scores of the model that is kept."""
    matching, scores = settings.matching, None
    if settings.stage in ("intermediate", "both"):
        epochs = settings.intermediate_epochs or data.task.intermediate_epochs
        objective = matching.layer_objective(weights)
        if matching.layer_map == "learned":
            weighted = {
                name: getattr(matching, name) for name in ("attention_weight", "hidden_weight", "embedding_weight")
            }
            depths = (trainer.model.config.num_hidden_layers, teacher.config.num_hidden_layers)
            objective = LearnedMapObjective.of(trainer.model, teacher, layer_map(matching.layers, *depths), **weighted)
        is_last = settings.stage == "intermediate"
        trainer.learn_layers(
            teacher, objective, projections, epochs, settings.intermediate_learning_rate,
            constant_rate=matching.is_published, save_as="model" if is_last else "intermediate",
        )  # fmt: skip
        if isinstance(objective, LearnedMapObjective) and not settings.run.dry_run:
            _record_learned_map(trainer.run, objective.weights)
        if is_last and not settings.run.dry_run:
            scores = trainer.evaluate()
            trainer.run.log("intermediate", trainer.steps, "dev", scores)
    if settings.stage != "intermediate":
        epochs = settings.prediction_epochs or data.task.prediction_epochs
        trainer.training = _prediction_training(trainer.training, data, settings)
        if matching.objective == "theseus":
            return trainer.replace_modules(teacher, epochs, settings.prediction_learning_rate)
        if settings.learns_labels(data.task.kind):
            return trainer.learn_labels("prediction", epochs, settings.prediction_learning_rate)
        objective = matching.prediction_objective(settings.temperature)
        if settings.stage == "joint":
            objective = matching.joint_objective(settings.temperature, weights)
        scores = trainer.learn_predictions(teacher, objective, projections, epochs, settings.prediction_learning_rate)
    return scores


def _prediction_training(
    training: TrainingSet | SpanTrainingSet, data: TaskData, settings: DistillSettings
) -> TrainingSet | SpanTrainingSet:
    """What of the training set the prediction stage learns from."""
    if settings.augmented_data_dir and data.task.kind == "regression" and settings.teacher_logits is None:
        # As the paper does for STS-B: replaced words change how similar two sentences are.
        logger.info("prediction  learns from the rows of %s alone: augmented ones have no score", data.train.source)
        training = dataclasses.replace(training, split=data.train.limit(settings.examples.max_train_examples))
    if not settings.reads_labels(data.task.kind):
        return training
    if settings.data.custom.unlabelled_file:
        logger.warning("prediction  unlabelled_file is not used: a loss of this stage reads labels")
    return training.labelled()
