"""Task distillation, TinyBERT's stage 2: a student learns a task from its fine-tuned teacher."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import keras

from tinybert_tf.bert import BertModel, BiLstmConfig, BiLstmModel, size_of
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.checkpoints.grid import MODES
from tinybert_tf.data import TaskData
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.distill import layer_map
from tinybert_tf.distill.soft_map import LayerWeights, LearnedMapObjective
from tinybert_tf.distribution import distributed
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.baseline import constant_score
from tinybert_tf.evaluate.task_model import TaskModel
from tinybert_tf.settings import check_one_of, check_positive, nested, replace, setting
from tinybert_tf.train.gradual import PruningSettings, pruned_student
from tinybert_tf.train.loss_scale import relative_weights
from tinybert_tf.train.map_search import searched_map
from tinybert_tf.train.precision import Precision
from tinybert_tf.train.reading import TEACHER_CACHE_HELP, TEACHER_CACHES
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.settings import LOGITS_OBJECTIVES, ExampleSettings, MatchingSettings, RunSettings
from tinybert_tf.train.student import BILSTM, INIT_HELP, make_student
from tinybert_tf.train.teachers import (
    TEACHER_LOGITS_HELP,
    check_rows,
    given_logits,
    mean_of,
    read_logits,
    scores_of,
    stand_in,
)
from tinybert_tf.train.trainer import Trainer
from tinybert_tf.train.training_set import AUGMENTED_HELP, check_augmented, training_set

logger = logging.getLogger(__name__)

# With fewer dev examples a weak teacher cannot be told from chance.
_ENOUGH_EXAMPLES = 30
# Heads that have a ReLU after the pooler in the published code.
_WITH_RELU = ("classification", "regression")
TEACHER_HELP = (
    "a model directory that was fine-tuned on the task; of several, separated by commas, the first teaches the intermediate "
    "stage, and the mean of all logits the prediction stage"
)


@dataclasses.dataclass(frozen=True)
class DistillSettings:
    """Settings of bin/distill_task.py."""

    data: DataSettings = nested(DataSettings)
    examples: ExampleSettings = nested(ExampleSettings)
    matching: MatchingSettings = nested(MatchingSettings)
    run: RunSettings = nested(RunSettings)
    pruning: PruningSettings = nested(PruningSettings)
    augmented_data_dir: str | None = setting(None, AUGMENTED_HELP)
    teacher: str = setting("", TEACHER_HELP)
    teacher_weights: str | None = setting(None, "of several teachers, separated by commas; absent: equal")
    teacher_logits: str | None = setting(None, TEACHER_LOGITS_HELP)
    student: str = setting(
        "tinybert4", "a model directory, or a size: a name, LAYERSxHIDDENxHEADSxINTERMEDIATE, LAYERSxteacher, or bilstm"
    )
    init: str = setting("auto", f"the weights of a student given as a size: {INIT_HELP}")
    stage: str = setting("both", "intermediate, prediction or both")
    intermediate_epochs: float | None = setting(None, "absent: the task's, which are the paper's for the GLUE tasks")
    prediction_epochs: float | None = setting(None, "absent: the task's, which are the paper's for the GLUE tasks")
    intermediate_learning_rate: float = setting(5e-5, "peak of the schedule of the intermediate stage")
    prediction_learning_rate: float = setting(3e-5, "peak of the schedule of the prediction stage")
    temperature: float = setting(1.0, "of the prediction loss")
    prediction_target: str | None = setting(
        None,
        "teacher, or label: what the prediction stage learns from (recipe published: label for scores, else teacher)",
    )
    quantize_aware: str | None = setting(
        None, f"{', '.join(MODES)}: train the prediction stage through the rounding of this file's weights"
    )
    teacher_cache: str = setting("auto", TEACHER_CACHE_HELP)
    allow_weak_teacher: bool = setting(False, "distill a teacher even if its dev score is no better than chance")

    def __post_init__(self):
        check_one_of(self, "stage", "intermediate", "prediction", "both")
        if not self.matching.compares_layers and self.stage != "prediction":
            raise InputError(
                "compares no layers, so it has no intermediate stage; set `stage=prediction`",
                "objective",
                self.matching.objective,
            )
        if self.student == BILSTM:
            self._check_bilstm()
        if self.teacher_logits is not None or len(self.teachers) > 1:
            self._check_logits()
        check_one_of(self, "teacher_cache", *TEACHER_CACHES)
        if self.prediction_target is not None:
            check_one_of(self, "prediction_target", "teacher", "label")
        check_positive(self, "intermediate_epochs", "prediction_epochs", "temperature")
        check_augmented(self.augmented_data_dir, self.data.task)
        if self.quantize_aware is not None:
            check_one_of(self, "quantize_aware", *MODES)
            if self.stage == "intermediate":
                raise InputError(
                    "weights are rounded in the prediction stage; set `stage=both` or `stage=prediction`",
                    "quantize_aware",
                    self.quantize_aware,
                )
            if self.matching.objective == "theseus":
                raise InputError("is not for `objective=theseus`", "quantize_aware", self.quantize_aware)
            if self.run.devices.strategy != "one_device":
                raise InputError("runs on one device; set `strategy=one_device`", "quantize_aware", self.quantize_aware)

    @property
    def teachers(self) -> list[str]:
        """The names in `teacher`."""
        return [self.teacher] if Path(self.teacher).is_dir() else [name.strip() for name in self.teacher.split(",")]

    @property
    def weights_of_teachers(self) -> list[float]:
        """`teacher_weights` as a list."""
        if self.teacher_weights is None:
            return [1.0] * len(self.teachers)
        try:
            weights = [float(weight) for weight in self.teacher_weights.split(",")]
        except ValueError:
            weights = []
        if len(weights) != len(self.teachers) or not all(0 < weight < math.inf for weight in weights):
            raise InputError(
                f"must be a number above 0 for each of the {len(self.teachers)} teachers, separated by commas",
                "teacher_weights",
                self.teacher_weights,
            )
        return weights

    def _check_logits(self) -> None:
        """What several teachers and a file of logits cannot do."""
        name, value = ("teacher_logits", self.teacher_logits) if self.teacher_logits else ("teacher", self.teacher)
        objective = self.matching.objective
        if objective not in ("tinybert", *LOGITS_OBJECTIVES):
            raise InputError(f"gives logits, but `objective={objective}` reads more of a teacher", name, value)
        if self.teacher_logits is None:
            _ = self.weights_of_teachers
            if self.teacher_cache == "none":
                raise InputError("keeps no logits, which several teachers need", "teacher_cache", "none")
            return
        if self.teacher:
            raise InputError("takes the place of `teacher`; give one of the two", name, value)
        if self.stage != "prediction":
            raise InputError("has no layers to compare; set `stage=prediction`", name, value)
        if self.data.custom.unlabelled_file:
            raise InputError("holds the logits of labelled rows; leave `unlabelled_file` out", name, value)

    def _check_bilstm(self) -> None:
        objective = self.matching.objective
        if objective not in ("tinybert", *LOGITS_OBJECTIVES):
            raise InputError(
                f"reads layers, which `student=bilstm` does not have; take {', '.join(LOGITS_OBJECTIVES)}",
                "objective",
                objective,
            )
        if self.stage != "prediction":
            raise InputError(
                "compares layers, which `student=bilstm` does not have; set `stage=prediction`", "stage", self.stage
            )
        for name, value in (("quantize_aware", self.quantize_aware), ("prune_to", self.pruning.prune_to)):
            if value is not None:
                raise InputError("is for a BERT, not for `student=bilstm`", name, value)

    def learns_labels(self, kind: str) -> bool:
        """Whether the prediction stage of a kind of task learns from labels and not from the teacher."""
        if self.prediction_target is None:
            return self.matching.is_published and kind == "regression"
        return self.prediction_target == "label"


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
        return _learn_file(settings)
    if not settings.teacher:
        raise InputError(f"is missing; it is {TEACHER_HELP}", "teacher")
    original, found_maps = settings, {}
    if settings.matching.layer_map == "search":
        settings, tried = _searched(settings)
        found_maps = {"layer_map": tried[0]["layers"], "searched_maps": tried}
    if settings.pruning.prune_to is not None and not settings.run.dry_run:
        settings = pruned_student(settings, distill_task)
    with distributed(settings.run.devices, settings.examples.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        data, earlier = settings.data.load(), recorded(original)
        precision = Precision.of(earlier, settings.run.dtype, settings.matching.teacher_dtype)
        teacher_dir = _teacher_for(data, settings.teachers[0])
        teacher = load_model(
            teacher_dir, head=data.task.head, dtype=precision.teacher_dtype, strict_head=True,
            classifier_activation="relu" if settings.matching.is_published and data.task.head in _WITH_RELU else None,
        )  # fmt: skip
        tokenizer = settings.data.open_tokenizer(teacher_dir)
        of_teacher = TaskModel.of(teacher, tokenizer, data, settings.data.seq_len, source=teacher_dir)
        others = [_other_teacher(data, name, settings, precision) for name in settings.teachers[1:]]
        teacher_score = earlier.get("teacher_score")
        if teacher_score is None and not settings.run.dry_run:
            scores = scores_of([of_teacher, *others], settings)
            teacher_score = _checked_teacher(data, scores, settings.allow_weak_teacher)
        training = training_set(settings, of_teacher, has_teacher=True)
        student, projections = make_student(
            teacher,
            teacher_dir,
            settings.student,
            settings.init,
            settings.matching.layers,
            training.texts,
            precision.dtype,
            settings.matching.student_family,
            of_teacher.seq_len,
            data.task.has_pairs,
            settings.examples.cache_dir,
        )
        if isinstance(student, BiLstmModel) and settings.stage != "prediction":
            raise InputError(
                "compares layers, which a BiLSTM does not have; set `stage=prediction`", "stage", settings.stage
            )
        evaluate = dataclasses.replace(of_teacher, model=student).scorer(data.dev)
        weights = earlier.get("loss_weights", {})
        if settings.matching.loss_scale == "relative" and settings.stage != "prediction" and not weights:
            depth = student.config.num_hidden_layers
            weights = relative_weights(teacher, depth, settings.matching.layers, training.texts())
        found = {"teacher_score": teacher_score, "loss_weights": weights, "buckets": training.buckets}
        kept_map = {"layer_map": earlier["layer_map"]} if "layer_map" in earlier else {}
        run = Run(original, dataclasses.asdict(precision) | found | kept_map | found_maps)
        trainer = Trainer(
            run, settings.run, student, training, evaluate, settings.examples.evaluations, tokenizer.spec, precision,
            settings.matching.has_dropout, settings.teacher_cache, settings.examples.cache_dir,
            logits_of=mean_of([of_teacher, *others], settings) if others and not settings.run.dry_run else None,
        )  # fmt: skip
        scores = _both_stages(trainer, teacher, data, projections, settings, weights)
        retention = scores[data.task.main_metric] / teacher_score if scores and teacher_score > 0 else 0.0
        layers = {
            name: run.description["resolved"][name] for name in ("layer_map",) if name in run.description["resolved"]
        }
        return trainer.finish(scores, teacher_score=teacher_score, retention=retention, **layers)


def _keep_map(run: Run, learned: LayerWeights) -> None:
    """Writes the map that was learned to run.json, unless the run was resumed after the stage that learned it."""
    if not (run.resumed is not None and run.resumed.stage == "prediction"):
        run.resolve({"layer_map": learned.layers()})
        logger.info("learned layer map  %s", ",".join(map(str, run.description["resolved"]["layer_map"])))


def _searched(settings: DistillSettings) -> tuple[DistillSettings, list[dict]]:
    """The settings with the best map of a search, and the maps that were tried; see `searched_map`."""
    if settings.stage == "intermediate":
        raise InputError("chooses on dev, after the prediction stage; set `stage=both`", "layer_map", "search")
    if settings.run.dry_run:
        raise InputError("has no dry run; name the map", "layer_map", "search")
    teacher, _ = read_config(resolve_directory(settings.teachers[0]))
    size = size_of(settings.student)
    depth = size[0] if size else read_config(resolve_directory(settings.student, "--student"))[0].num_hidden_layers
    tried = searched_map(settings, depth, teacher.num_hidden_layers, distill_task)
    return replace(settings, layer_map=",".join(map(str, tried[0]["layers"]))), tried


def _learn_file(settings: DistillSettings) -> dict:
    """The prediction stage on the logits of a file; see `distill_task`."""
    with distributed(settings.run.devices, settings.examples.train_batch_size):
        keras.utils.set_random_seed(settings.run.seed)
        data, precision = settings.data.load(), Precision.of(recorded(settings), settings.run.dtype)
        if size_of(settings.student) and not Path(settings.student).is_dir():
            raise InputError(
                "takes vocabulary and labels from a teacher, which does not run with `teacher_logits`; give a model directory",
                "student",
                settings.student,
            )
        source = resolve_directory(settings.student, "--student")
        student = load_model(source, head=data.task.head, label2id=data.task.label2id or None, dtype=precision.dtype)
        tokenizer = settings.data.open_tokenizer(source)
        of_student = TaskModel.of(student, tokenizer, data, settings.data.seq_len, source=source)
        training = training_set(settings, of_student)
        logits = read_logits(settings.teacher_logits, data.task, of_student.ids)
        check_rows(logits, training, of_student, settings)
        run = Run(settings, dataclasses.asdict(precision) | {"buckets": training.buckets})
        trainer = Trainer(
            run, settings.run, student, training, of_student.scorer(data.dev), settings.examples.evaluations,
            tokenizer.spec, precision, settings.matching.has_dropout, logits_of=given_logits(logits),
        )  # fmt: skip
        scores = _both_stages(trainer, stand_in(logits.shape[1]), data, None, settings, {})
        return trainer.finish(scores, teacher_score=None, retention=None)


def _other_teacher(data: TaskData, name: str, settings: DistillSettings, precision: Precision) -> TaskModel:
    """A teacher beside the first, with its own vocabulary."""
    directory = _teacher_for(data, name)
    model = load_model(directory, head=data.task.head, dtype=precision.teacher_dtype, strict_head=True)
    tokenizer = settings.data.open_tokenizer(directory)
    return TaskModel.of(model, tokenizer, data, settings.data.seq_len, source=directory)


def _teacher_for(data: TaskData, name: str) -> Path:
    """The teacher's directory, if it has a head for the task."""
    directory = resolve_directory(name, "--teacher")
    config, head = read_config(directory)
    if isinstance(config, BiLstmConfig):
        raise InputError("is a BiLSTM; write its logits to a file and give it as `teacher_logits`", "teacher", name)
    if head != data.task.head:
        raise InputError(
            f"has the head {head!r}, but task {data.task.name} needs {data.task.head!r}; fine-tune it first "
            "(bin/finetune.py)",
            "teacher",
            name,
        )
    return directory


def _checked_teacher(data: TaskData, scores: Mapping[str, float], allow_weak: bool) -> float:
    """The teacher's main dev score; InputError if it is no better than a constant answer."""
    main = data.task.main_metric
    logger.info("teacher  dev  %s", "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    chance, examples = constant_score(data.task, data.dev)
    if scores[main] > chance or allow_weak:
        return scores[main]
    message = (
        f"the teacher's {main} on dev is {scores[main]:.4f}, and the best constant answer has {chance:.4f}: it has not "
        "learned the task, or its labels are in another order"
    )
    if examples >= _ENOUGH_EXAMPLES:
        raise InputError(f"{message}; fine-tune it (bin/finetune.py), or set `allow_weak_teacher`")
    logger.warning("%s (%d examples)", message, examples)
    return scores[main]


def _both_stages(
    trainer: Trainer, teacher: BertModel, data: TaskData, projections, settings: DistillSettings, weights: Mapping
) -> dict[str, float] | None:
    """The stages that `settings.stage` asks for, in order; the dev scores of the model that is kept."""
    matching, scores = settings.matching, None
    if settings.stage in ("intermediate", "both"):
        epochs = (settings.intermediate_epochs or data.task.intermediate_epochs) / settings.pruning.prune_rounds
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
            _keep_map(trainer.run, objective.weights)
        if is_last and not settings.run.dry_run:
            scores = trainer.evaluate()
            trainer.run.log("intermediate", trainer.steps, "dev", scores)
    if settings.stage in ("prediction", "both"):
        epochs = settings.prediction_epochs or data.task.prediction_epochs
        if settings.augmented_data_dir and data.task.kind == "regression":
            # As the paper does for STS-B: replaced words change how similar two sentences are.
            original = data.train.limit(settings.examples.max_train_examples)
            trainer.training = dataclasses.replace(trainer.training, split=original)
        if not matching.compares_layers:
            trainer.training = trainer.training.labelled()
        if matching.objective == "theseus":
            return trainer.replace_modules(teacher, epochs, settings.prediction_learning_rate)
        if settings.learns_labels(data.task.kind):
            trainer.training = trainer.training.labelled()
            return trainer.learn_labels(
                "prediction", epochs, settings.prediction_learning_rate, settings.quantize_aware
            )
        objective = matching.prediction_objective(settings.temperature)
        scores = trainer.learn_predictions(
            teacher, objective, projections, epochs, settings.prediction_learning_rate, settings.quantize_aware
        )
    return scores
