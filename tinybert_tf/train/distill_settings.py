"""Settings of bin/distill_task.py, and what of them excludes each other."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from tinybert_tf.checkpoints.rounding import MODES
from tinybert_tf.data.settings import DataSettings
from tinybert_tf.errors import InputError
from tinybert_tf.settings import (
    check_at_least_one,
    check_one_of,
    check_positive,
    check_rate,
    nested,
    replace,
    setting,
)
from tinybert_tf.train.gradual import PruningSettings
from tinybert_tf.train.reading import TEACHER_CACHE_HELP, TEACHER_CACHES
from tinybert_tf.train.settings import (
    ADAPTIVE,
    LOGITS_OBJECTIVES,
    READ_LABELS,
    ExampleSettings,
    MatchingSettings,
    RunSettings,
)
from tinybert_tf.train.student import BILSTM, INIT_HELP, is_loaded
from tinybert_tf.train.training_set import AUGMENTED_HELP, check_augmented

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
    teacher_logits: str | None = setting(
        None,
        "a .npy, .tsv or .jsonl file with the logits of a teacher for each row of the training set, in its order; no teacher "
        "runs. A .tsv has the labels for a header, a line of .jsonl is {label: logit}, a .npy has the task's order of labels",
    )
    student: str = setting(
        "tinybert4", "a model directory, or a size: a name, LAYERSxHIDDENxHEADSxINTERMEDIATE, LAYERSxteacher, or bilstm"
    )
    init: str = setting("auto", f"the weights of a student given as a size: {INIT_HELP}")
    stage: str = setting(
        "both", "intermediate, prediction, both, or joint: a prediction stage that compares the layers as well"
    )
    search_steps: int = setting(1000, "updates of all runs of `layer_map=search` together")
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
    train_integers: bool = setting(
        True,
        "with quantize_aware: train the weights that are rounded; no: only biases and what else no rounding depends on",
    )
    weight_averaging: float | None = setting(
        None, "prediction stage: score and keep a moving average of the weights; its decay, such as 0.99"
    )
    teacher_cache: str = setting("auto", TEACHER_CACHE_HELP)
    allow_weak_teacher: bool = setting(False, "distill a teacher even if its dev score is no better than chance")

    def __post_init__(self):
        check_one_of(self, "stage", "intermediate", "prediction", "both", "joint")
        if not self.matching.compares_layers and self.stage != "prediction":
            raise InputError(
                "compares no layers, so it has no intermediate stage; set `stage=prediction`",
                "objective",
                self.matching.objective,
            )
        if not self.matching.compares_layers and self.pruning.prune_rounds > 1:
            raise InputError(
                f"distills layers between two rounds, and `objective={self.matching.objective}` compares none; set "
                "`prune_rounds=1`",
                "prune_rounds",
                self.pruning.prune_rounds,
            )
        if self.pruning.prune_rounds > 1 and self.pruning.prune_to is None:
            raise InputError(
                "are of a student that is pruned; give `prune_to`", "prune_rounds", self.pruning.prune_rounds
            )
        if self.pruning.prune_rounds > 1 and self.run.max_steps is not None:
            raise InputError(
                "ends each stage, and with `prune_rounds` the intermediate one has several; give `intermediate_epochs`",
                "max_steps",
                self.run.max_steps,
            )
        if self.student == BILSTM:
            self._check_bilstm()
        if self.teacher_logits is not None or len(self.teachers) > 1:
            self._check_logits()
        elif self.teacher_weights is not None:
            raise InputError("are of several teachers", "teacher_weights", self.teacher_weights)
        check_one_of(self, "teacher_cache", *TEACHER_CACHES)
        if self.prediction_target is not None:
            check_one_of(self, "prediction_target", "teacher", "label")
            if not self.matching.compares_layers:
                raise InputError(
                    f"is for a prediction stage that follows an intermediate one; `objective={self.matching.objective}` says "
                    "itself what it learns from",
                    "prediction_target",
                    self.prediction_target,
                )
            if self.stage == "intermediate":
                raise InputError(
                    "is of the prediction stage; set `stage=both`", "prediction_target", self.prediction_target
                )
        check_at_least_one(self, "search_steps")
        check_positive(self, "intermediate_epochs", "prediction_epochs", "temperature")
        check_rate(self, "intermediate_learning_rate", "prediction_learning_rate")
        if self.temperature != 1.0 and self.prediction_target == "label":
            raise InputError("is of logits, and `prediction_target=label` reads none", "temperature", self.temperature)
        if self.temperature != 1.0 and self.stage == "intermediate":
            raise InputError("is of the prediction stage; set `stage=both`", "temperature", self.temperature)
        if self.temperature != 1.0 and not self.matching.compares_layers:
            raise InputError(
                f"`objective={self.matching.objective}` has its own; in Python give it to tb.objectives",
                "temperature",
                self.temperature,
            )
        check_augmented(self.augmented_data_dir, self.data.task)
        if self.stage == "joint":
            self._check_joint()
        self._check_map()
        if self.quantize_aware is not None:
            check_one_of(self, "quantize_aware", *MODES)
        elif not self.train_integers:
            raise InputError("is for weights that are rounded; set `quantize_aware`", "train_integers", False)
        if self.weight_averaging is not None and not 0 < self.weight_averaging < 1:
            raise InputError("must be above 0 and below 1", "weight_averaging", self.weight_averaging)
        for name in ("quantize_aware", "weight_averaging"):
            self._check_prediction_stage(name)

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

    def of_intermediate_stage(self, **changes: Any) -> "DistillSettings":
        """The same for the intermediate stage alone, without what belongs to the other one."""
        others = {
            "quantize_aware": None,
            "train_integers": True,
            "weight_averaging": None,
            "prediction_target": None,
            "temperature": 1.0,
        }
        return replace(self, stage="intermediate", **others, **changes)

    def _check_joint(self) -> None:
        """What one stage with all terms cannot do."""
        matching, prune_to, target = self.matching, self.pruning.prune_to, self.prediction_target
        for name, value, is_refused, why in (
            ("objective", matching.objective, matching.objective != "tinybert", "has no joint stage"),
            ("recipe", matching.recipe, matching.is_published, "has two stages"),
            ("layer_map", matching.layer_map, matching.layer_map in ADAPTIVE, "is found in two stages"),
            ("prune_to", prune_to, prune_to is not None, "prunes in an intermediate stage"),
            ("teacher", self.teacher, len(self.teachers) > 1, "gives the mean of logits alone"),
            ("prediction_target", target, target == "label", "is for a prediction stage that compares no layers"),
        ):
            if is_refused:
                raise InputError(f"{why}; set `stage=both`", name, value)

    def _check_prediction_stage(self, name: str) -> None:
        """What an option that changes the weights between the steps of the prediction stage cannot be combined with."""
        value = getattr(self, name)
        if value is None:
            return
        if self.stage == "intermediate":
            raise InputError("is for the prediction stage; set `stage=both`, `prediction` or `joint`", name, value)
        if self.matching.objective == "theseus":
            raise InputError("is not for `objective=theseus`", name, value)
        if self.run.devices.strategy != "one_device":
            raise InputError("runs on one device; set `strategy=one_device`", name, value)

    def _check_map(self) -> None:
        """What a map that is searched or learned cannot be combined with."""
        kind = self.matching.layer_map
        if self.stage == "prediction":
            for name, is_of_layers in (
                ("layer_map", kind == "learned"),
                ("loss_scale", self.matching.loss_scale == "relative"),
            ):
                if is_of_layers:
                    raise InputError(
                        "is of the intermediate stage; set `stage=both`", name, getattr(self.matching, name)
                    )
            if kind == "search" and is_loaded(self.student):
                raise InputError("makes the student from its map, but a model directory has weights", "layer_map", kind)
        if kind == "learned" and not self.intermediate_learning_rate:
            raise InputError("must be above 0 with `layer_map=learned`", "intermediate_learning_rate", 0.0)
        if kind in ADAPTIVE and self.pruning.prune_to is not None:
            raise InputError("keeps the map of the layers that remain; name the map", "prune_to", self.pruning.prune_to)
        if kind == "search" and self.stage == "intermediate":
            raise InputError("chooses on dev, after the prediction stage; set `stage=both`", "layer_map", kind)
        if kind == "search" and self.run.dry_run:
            raise InputError("has no dry run; name the map", "layer_map", kind)
        if self.pruning.prune_to is not None and self.run.dry_run:
            raise InputError("has no dry run", "prune_to", self.pruning.prune_to)

    def _check_logits(self) -> None:
        """What several teachers and a file of logits cannot do."""
        name, value = ("teacher_logits", self.teacher_logits) if self.teacher_logits else ("teacher", self.teacher)
        objective = self.matching.objective
        if objective not in ("tinybert", *LOGITS_OBJECTIVES):
            raise InputError(f"gives logits, but `objective={objective}` reads more of a teacher", name, value)
        if self.prediction_target == "label":
            raise InputError("gives logits, and `prediction_target=label` reads none", name, value)
        if self.teacher_logits is None:
            _ = self.weights_of_teachers
            if self.teacher_cache == "none":
                raise InputError("keeps no logits, which several teachers need", "teacher_cache", "none")
            return
        if self.teacher_weights is not None:
            raise InputError("are of several teachers", "teacher_weights", self.teacher_weights)
        if self.teacher:
            raise InputError("takes the place of `teacher`; give one of the two", name, value)
        if self.stage != "prediction":
            raise InputError("has no layers to compare; set `stage=prediction`", name, value)
        if self.matching.layer_map == "search":
            raise InputError("is chosen by layers that a file of logits does not have", "layer_map", "search")
        if self.pruning.prune_to is not None:
            raise InputError(
                "keeps the map of its teacher's layers, which a file of logits does not have",
                "prune_to",
                self.pruning.prune_to,
            )
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

    @property
    def compares_logits_alone(self) -> bool:
        """Whether a teacher gives nothing but logits, so that its vocabulary need not be the student's."""
        return self.stage == "prediction" and self.matching.objective in ("tinybert", *LOGITS_OBJECTIVES)

    def reads_labels(self, kind: str) -> bool:
        """Whether a loss of the prediction stage of a kind of task reads labels, which texts without one do not have."""
        return self.matching.objective in READ_LABELS or self.learns_labels(kind)

    def check_learns_logits(self, kind: str) -> None:
        """Raises InputError where the prediction stage would learn labels, though logits are given for it."""
        if self.learns_labels(kind):
            raise InputError(
                "reads labels, and what is given are logits; set it to teacher", "prediction_target", "label"
            )

    def check_temperature(self, kind: str) -> None:
        """Raises InputError where no softmax of a kind of task reads the temperature."""
        if self.temperature != 1.0 and (kind == "regression" or self.learns_labels(kind)):
            raise InputError(
                "divides the logits of a softmax, which this task's prediction stage does not have",
                "temperature",
                self.temperature,
            )

    def learns_labels(self, kind: str) -> bool:
        """Whether the prediction stage of a kind of task learns from labels and not from the teacher."""
        if not self.matching.compares_layers:
            return False
        if self.prediction_target is None:
            return self.matching.is_published and kind == "regression"
        return self.prediction_target == "label"
