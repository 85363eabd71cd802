"""Groups of settings that the programs which train share."""

import dataclasses
from collections.abc import Mapping, Sequence

from tinybert_tf.distill.layer_map import KINDS
from tinybert_tf.distill.objectives import Objective, TinyBertObjective
from tinybert_tf.distill.rivals import LAYER_OBJECTIVES, OBJECTIVES, MobileBert
from tinybert_tf.distribution import DeviceSettings
from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_at_least_one, check_one_of, check_seed, integers, nested, setting
from tinybert_tf.train.precision import DTYPE_HELP, TEACHER_DTYPE_HELP
from tinybert_tf.train.reading import BUCKETS_HELP, CACHE_DIR_HELP
from tinybert_tf.train.student import FAMILY_HELP

SAVE_EVERY_SECONDS = 300.0

# Settings whose defaults depend on the recipe, and their defaults in earlier versions.
FORMER_DEFAULTS = {"padding": "exclude", "student_dropout": False, "prediction_target": "teacher"}


PROGRAM_OBJECTIVES = (*OBJECTIVES, "theseus")
# Layer maps that are found while a task is learned.
ADAPTIVE = ("learned", "search")
# Those that compare logits alone, which any network has; "tinybert" does so in its prediction stage.
LOGITS_OBJECTIVES = ("vanilla_kd", "pd", "bilstm_soft")
# Those without an intermediate stage whose losses read labels.
READ_LABELS = ("vanilla_kd", "pkd", "distilbert", "theseus")
# Settings that the terms of TinyBERT alone read, and their defaults.
_OF_TINYBERT = {
    "attention_weight": 1.0,
    "hidden_weight": 1.0,
    "embedding_weight": 1.0,
    "loss_scale": "paper",
    "padding": None,
}


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """A run: where it is written, how long it trains, on what."""

    output_dir: str = setting("", "where the run is written", required=True)
    seed: int = setting(0, "random seed: initial values, data order, dropout")
    max_steps: int | None = setting(None, "end each stage after this many steps")
    save_every_seconds: float = setting(SAVE_EVERY_SECONDS, "seconds between two checkpoints")
    dtype: str = setting("float32", f"precision of the network that is trained: {DTYPE_HELP}")
    dry_run: bool = setting(
        False,
        "time a few steps, print steps, minutes, memory and disk space, and write nothing; not in pipelines and sweeps",
    )
    devices: DeviceSettings = nested(DeviceSettings)

    def __post_init__(self):
        check_at_least_one(self, "max_steps")
        check_seed(self.seed)


@dataclasses.dataclass(frozen=True)
class ExampleSettings:
    """How a task's training examples are used."""

    train_batch_size: int = setting(32, "examples in a step")
    max_train_examples: int | None = setting(None, "use only the first examples of the training set")
    evaluations: int = setting(5, "number of evaluations on dev in a stage")
    class_weights: str | None = setting(
        None, "balanced, or LABEL=WEIGHT,...: weight of a class's examples in the losses (absent: 1)"
    )
    buckets: str = setting("auto", BUCKETS_HELP)
    cache_dir: str | None = setting(None, CACHE_DIR_HELP)

    def __post_init__(self):
        check_at_least_one(self, "train_batch_size", "max_train_examples", "evaluations")


@dataclasses.dataclass(frozen=True)
class MatchingSettings:
    """How a student is matched with its teacher, in general distillation and on a task."""

    objective: str = setting(
        "tinybert",
        f"the method: {', '.join(PROGRAM_OBJECTIVES)}; of plain text tinybert, minilm, minilmv2 or mobilebert",
    )
    layer_map: str = setting(
        "uniform",
        "uniform, top, bottom, a teacher layer for each student layer (3,6,9,12), or on a task: learned (weights over the "
        "teacher's layers, annealed to one), or search (the best on dev of several)",
    )
    attention_weight: float = setting(1.0, "of TinyBERT's attention loss; 0 leaves it out")
    hidden_weight: float = setting(1.0, "of TinyBERT's hidden-state loss; 0 leaves it out")
    embedding_weight: float = setting(1.0, "of TinyBERT's embedding loss; 0 leaves it out")
    student_family: str = setting("auto", FAMILY_HELP)
    recipe: str = setting("ours", "ours, or published: what the published code does, see docs/recipes.md")
    student_dropout: bool | None = setting(None, "keep the student's dropout on (recipe ours: off, published: on)")
    padding: str | None = setting(
        None, "exclude padding from the losses, or reference: count it (recipe ours: exclude, published: reference)"
    )
    loss_scale: str = setting(
        "paper", "paper: intermediate terms with weight 1; relative: each divided by the variance of its target"
    )
    teacher_dtype: str = setting("auto", f"precision of the teacher: {TEACHER_DTYPE_HELP}")

    def __post_init__(self):
        check_one_of(self, "objective", *PROGRAM_OBJECTIVES)
        check_one_of(self, "recipe", "ours", "published")
        if self.layer_map in ADAPTIVE and self.objective != "tinybert":
            raise InputError(f"is for `objective=tinybert`, not for {self.objective}", "layer_map", self.layer_map)
        if self.layer_map == "learned" and self.loss_scale == "relative":
            raise InputError("is what `layer_map=learned` does by itself; leave it out", "loss_scale", "relative")
        if self.layer_map == "search" and self.loss_scale == "relative":
            raise InputError("is measured for one map; search with `loss_scale=paper`", "loss_scale", "relative")
        if self.layer_map == "learned" and self.counted_padding != "exclude":
            raise InputError("leaves padding out of the losses; set `padding=exclude`", "layer_map", "learned")
        if self.layer_map == "learned" and not (self.attention_weight or self.hidden_weight):
            raise InputError("needs an `attention_weight` or a `hidden_weight` above 0", "layer_map", "learned")
        check_one_of(self, "loss_scale", "paper", "relative")
        check_one_of(self, "student_family", "auto", "bert")
        if self.objective == "theseus" and self.teacher_dtype == "bfloat16":
            raise InputError(
                "would round the weights that `objective=theseus` copies", "teacher_dtype", self.teacher_dtype
            )
        if self.objective != "tinybert":
            for name, default in _OF_TINYBERT.items():
                if (value := getattr(self, name)) != default:
                    raise InputError(f"is of `objective=tinybert`; {self.objective} does not read it", name, value)
        if self.padding is not None:
            check_one_of(self, "padding", "exclude", "reference")
        self.layers  # noqa: B018

    @property
    def layers(self) -> str | list[int]:
        """The layer map, or of an adaptive one where it begins: a name or teacher layers; see `tinybert_tf.distill.layer_map`."""
        if self.layer_map in ADAPTIVE:
            return "uniform"
        if self.layer_map in KINDS:
            return self.layer_map
        try:
            return integers("layer_map", self.layer_map)
        except InputError:
            raise InputError(
                f"must be {', '.join((*KINDS, *ADAPTIVE))}, or teacher layers separated by commas",
                "layer_map",
                self.layer_map,
            ) from None

    @property
    def compares_layers(self) -> bool:
        """Whether the method has an intermediate stage."""
        return self.objective in LAYER_OBJECTIVES

    def layer_objective(self, scales: Mapping[str, float | Sequence[float]]) -> Objective:
        """The objective of the intermediate stage.

        Args:
            scales: factors of TinyBERT's terms, by the name of the weight; see `tinybert_tf.train.loss_scale`.
        """
        if self.objective == "mobilebert":
            return MobileBert(layers=self.layers)
        if self.objective != "tinybert":
            return OBJECTIVES[self.objective]()
        names = ("attention_weight", "hidden_weight", "embedding_weight")
        weights = {name: _scaled(getattr(self, name), scales.get(name, 1.0)) for name in names}
        return TinyBertObjective.intermediate(layers=self.layers, padding=self.counted_padding, **weights)

    def joint_objective(self, temperature: float, scales: Mapping[str, float | Sequence[float]]) -> Objective:
        """TinyBERT's objective with the terms of both stages; arguments as for the objectives of each."""
        return dataclasses.replace(self.layer_objective(scales), prediction_weight=1.0, temperature=temperature)

    def prediction_objective(self, temperature: float) -> Objective:
        """The objective of the prediction stage: the method's own losses, or TinyBERT's soft cross-entropy."""
        if not self.compares_layers:
            return OBJECTIVES[self.objective]()
        reduction = "reference" if self.is_published else "batch"
        return TinyBertObjective.prediction(temperature=temperature, reduction=reduction)

    @property
    def dtype_of_teacher(self) -> str:
        """`teacher_dtype`; BERT-of-Theseus copies weights of its teacher, which must not be rounded."""
        return "float32" if (self.objective, self.teacher_dtype) == ("theseus", "auto") else self.teacher_dtype

    def classifier_activation(self, head: str) -> str | None:
        """Of a network with this head: the published code has a ReLU after the pooler, of student and teacher."""
        return "relu" if self.is_published and head in ("classification", "regression") else None

    @property
    def is_published(self) -> bool:
        """Whether the published code's choices are the defaults."""
        return self.recipe == "published"

    @property
    def has_dropout(self) -> bool:
        """Whether the student's dropout is on."""
        return self.is_published if self.student_dropout is None else self.student_dropout

    @property
    def counted_padding(self) -> str:
        """`padding` of the losses."""
        return self.padding or ("reference" if self.is_published else "exclude")


def _scaled(weight: float, scale: float | Sequence[float]) -> float | list[float]:
    return weight * scale if isinstance(scale, int | float) else [weight * each for each in scale]
