"""The training stages: fine-tuning a model on a task, and distilling a student on it."""

import dataclasses
from pathlib import Path

import keras

from tinybert_tf.bert import BertConfig, BertModel, build_model, size_of
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data import Task, TaskData, Tokenizer, label_ids, load_task
from tinybert_tf.data.custom import CustomFiles
from tinybert_tf.data.tasks import CUSTOM_TASKS
from tinybert_tf.distill import TinyBertObjective
from tinybert_tf.distribution import STRATEGY_HELP, distributed
from tinybert_tf.errors import InputError
from tinybert_tf.settings import check_seed, setting
from tinybert_tf.train.fit import SAVE_EVERY_SECONDS
from tinybert_tf.train.precision import DTYPE_HELP, TEACHER_DTYPE_HELP, Precision
from tinybert_tf.train.run import Run, finished_result, recorded
from tinybert_tf.train.student import FAMILY_HELP, INIT_HELP, make_student
from tinybert_tf.train.trainer import Trainer
from tinybert_tf.train.training_set import SpanTrainingSet, TrainingSet, dev_evaluation


@dataclasses.dataclass(frozen=True)
class TaskSettings(CustomFiles):
    """What every program that trains on a task is told."""

    task: str = setting(
        "", "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, squad1, squad2, sample, custom or token_classification",
        required=True,
    )  # fmt: skip
    output_dir: str = setting("", "where the run is written", required=True)
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    seed: int = setting(0, "of initial values, order and dropout")
    train_batch_size: int = setting(32, "examples in a step")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    max_train_examples: int | None = setting(None, "use only the first rows of the training set")
    max_steps: int | None = setting(None, "end each stage after this many steps")
    evaluations: int = setting(5, "how often a stage is scored on dev")
    strategy: str = setting("one_device", STRATEGY_HELP)
    num_devices: int | None = setting(None, "of --strategy=mirrored; without GPUs that many logical CPU devices")
    save_every_seconds: float = setting(SAVE_EVERY_SECONDS, "how often a checkpoint is written")
    dtype: str = setting("float32", f"precision of the network that is trained: {DTYPE_HELP}")

    def __post_init__(self):
        for name in ("train_batch_size", "seq_len", "max_train_examples", "max_steps", "evaluations", "num_devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name}={value}: must be at least 1")
        check_seed(self.seed)
        for name in ("epochs", "intermediate_epochs", "prediction_epochs", "temperature"):
            value = getattr(self, name, None)  # not every program has each of them
            if value is not None and not value > 0:
                raise InputError(f"--{name}={value}: must be above 0")


@dataclasses.dataclass(frozen=True)
class LearningSettings(TaskSettings):
    """What the two programs are told that learn one task from its rows, or from others in their place."""

    augmented_data_dir: str | None = setting(
        None, "a folder in GLUE's layout whose training set replaces the task's own"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.augmented_data_dir and self.task in CUSTOM_TASKS:
            raise InputError(
                f"--augmented_data_dir is for GLUE's layout; with --task={self.task} augmented rows go into --train_file"
            )


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(LearningSettings):
    model: str = setting(
        "minilm_l6", "what is fine-tuned: a model directory, a preset, or a named size (random weights)"
    )
    vocab: str | None = setting(None, "vocab.txt for a model with random weights")
    epochs: float = setting(3.0, "passes over the training set")
    learning_rate: float = setting(5e-5, "peak of the schedule")


@dataclasses.dataclass(frozen=True)
class DistillSettings(LearningSettings):
    teacher: str = setting("", "a model directory that was fine-tuned on the task", required=True)
    student: str = setting("tinybert4", "a model directory, or a size: a name, or LAYERSxHIDDENxHEADSxINTERMEDIATE")
    init: str = setting("auto", f"the weights of a student given as a size: {INIT_HELP}")
    student_family: str = setting("auto", FAMILY_HELP)
    stage: str = setting("both", "intermediate, prediction or both")
    intermediate_epochs: float | None = setting(None, "absent: the paper's for the task")
    prediction_epochs: float | None = setting(None, "absent: the paper's for the task")
    intermediate_learning_rate: float = setting(5e-5, "peak of the schedule of the intermediate stage")
    prediction_learning_rate: float = setting(3e-5, "peak of the schedule of the prediction stage")
    layer_map: str = setting("uniform", "uniform, top or bottom")
    temperature: float = setting(1.0, "of the prediction loss")
    prediction_target: str = setting("teacher", "teacher, or label: what the prediction stage learns from")
    student_dropout: bool = setting(False, "keep the student's dropout on, as the published code does")
    padding: str = setting("exclude", "exclude padding from the losses, or reference: as the published code")
    teacher_dtype: str = setting("auto", f"precision of the teacher: {TEACHER_DTYPE_HELP}")

    def __post_init__(self):
        super().__post_init__()
        if self.stage not in ("intermediate", "prediction", "both"):
            raise InputError(f"--stage={self.stage}: must be intermediate, prediction or both")
        if self.prediction_target not in ("teacher", "label"):
            raise InputError(f"--prediction_target={self.prediction_target}: must be teacher or label")


def finetune(settings: FinetuneSettings) -> dict:
    """Fine-tunes a model on a task with its labels; the result line of `bin/finetune.py`."""
    if finished := finished_result(settings):
        return finished
    with distributed(settings, settings.train_batch_size):
        keras.utils.set_random_seed(settings.seed)
        data = load_task(settings.task, settings.data_dir, settings)
        precision = Precision.of(settings, recorded(settings))
        model, source = _model_for(data.task, settings.model, settings.vocab, "--model", precision.dtype)
        tokenizer = Tokenizer.from_directory(source)
        training = _training_set(settings, data, model, tokenizer)
        evaluate = dev_evaluation(model, data, tokenizer, training.seq_len, label_ids(data.task, model.config.label2id))
        run = Run(settings.output_dir, settings, dataclasses.asdict(precision))
        trainer = Trainer(run, model, training, evaluate, source, settings, precision)
        scores = trainer.learn_labels("finetune", settings.epochs, settings.learning_rate)
        return _finish(trainer, scores)


def distill_task(settings: DistillSettings) -> dict:
    """Stage 2 of TinyBERT: a student learns a task from its fine-tuned teacher; the result of `bin/distill_task.py`."""
    if finished := finished_result(settings):
        return finished
    with distributed(settings, settings.train_batch_size):
        keras.utils.set_random_seed(settings.seed)
        data = load_task(settings.task, settings.data_dir, settings)
        teacher_dir = resolve_directory(settings.teacher)
        _, head = read_config(teacher_dir)
        if head != data.task.head:
            raise InputError(
                f"--teacher={settings.teacher}: has the head {head!r}, but task {data.task.name} needs {data.task.head!r}; "
                "fine-tune it first (bin/finetune.py)"
            )
        precision = Precision.of(settings, recorded(settings))
        teacher = load_model(teacher_dir, head=data.task.head, dtype=precision.teacher_dtype, strict_head=True)
        tokenizer = Tokenizer.from_directory(teacher_dir)
        training = _training_set(settings, data, teacher, tokenizer)
        student, projections = make_student(
            teacher, teacher_dir, settings.student, settings.init, settings.layer_map, training.texts, precision.dtype,
            settings.student_family,
        )  # fmt: skip
        evaluate = dev_evaluation(
            student, data, tokenizer, training.seq_len, label_ids(data.task, teacher.config.label2id)
        )
        run = Run(settings.output_dir, settings, dataclasses.asdict(precision))
        trainer = Trainer(run, student, training, evaluate, teacher_dir, settings, precision)
        scores = _both_stages(trainer, teacher, data, projections, settings)
        return _finish(trainer, scores)


def _both_stages(trainer: Trainer, teacher: BertModel, data: TaskData, projections, settings: DistillSettings) -> dict:
    """The stages that `settings.stage` asks for, in order; the dev scores of the model that is kept."""
    scores = None
    if settings.stage in ("intermediate", "both"):
        epochs = settings.intermediate_epochs or data.task.intermediate_epochs
        objective = TinyBertObjective.intermediate(layers=settings.layer_map, padding=settings.padding)
        scores = trainer.learn_layers(teacher, objective, projections, epochs, settings.intermediate_learning_rate)
    if settings.stage in ("prediction", "both"):
        epochs = settings.prediction_epochs or data.task.prediction_epochs
        training = trainer.training
        if settings.augmented_data_dir and data.task.kind == "regression":
            # As the paper does for STS-B: replaced words change how similar two sentences are.
            training = dataclasses.replace(training, split=data.train.limit(settings.max_train_examples))
        if settings.prediction_target == "label":
            trainer.training = training
            return trainer.learn_labels("prediction", epochs, settings.prediction_learning_rate)
        objective = TinyBertObjective.prediction(temperature=settings.temperature)
        scores = trainer.learn_predictions(teacher, objective, training, epochs, settings.prediction_learning_rate)
    return scores


def _model_for(task: Task, name: str, vocab: str | None, flag: str, dtype: str) -> tuple[BertModel, Path]:
    """A network with a head for the task, and the directory that its vocabulary is in."""
    label2id = task.label2id or None
    if vocab and size_of(name) and not Path(name).is_dir():
        vocab_file = Path(vocab)
        if vocab_file.name != "vocab.txt":
            raise InputError(
                f"--vocab={vocab}: must be named vocab.txt, as in the model directory that it becomes part of"
            )
        config = BertConfig.named(name, vocab_size=Tokenizer(vocab_file).vocab_size, label2id=label2id)
        return build_model(config, task.head, dtype=dtype), vocab_file.parent
    source = resolve_directory(name, flag)
    return load_model(source, head=task.head, label2id=label2id, dtype=dtype), source


def _training_set(
    settings: LearningSettings, data: TaskData, labelled: BertModel, tokenizer: Tokenizer
) -> TrainingSet | SpanTrainingSet:
    """The rows to train on, with the label ids of `labelled`."""
    seq_len = settings.seq_len or data.task.seq_len
    positions = labelled.config.max_position_embeddings
    if seq_len > positions:
        raise InputError(f"--seq_len={seq_len}: the model has {positions} positions; take a smaller one")
    source = load_task(settings.task, settings.augmented_data_dir) if settings.augmented_data_dir else data
    split = source.train.limit(settings.max_train_examples)
    sizes = {"batch_size": settings.train_batch_size, "seq_len": seq_len, "seed": settings.seed}
    if data.task.kind == "span":
        training = SpanTrainingSet(split, tokenizer, data.task, **sizes)
    else:
        training = TrainingSet(split, tokenizer, data.task, label_ids(data.task, labelled.config.label2id), **sizes)
    if not training.rows:  # which reads them all: a malformed row is named before anything is written
        raise InputError(f"{split.source}: no rows to train on")
    return training


def _finish(trainer: Trainer, scores: dict[str, float]) -> dict:
    task = trainer.training.task
    result = {"task": task.name, "score": scores[task.main_metric], "metrics": scores}
    return trainer.run.finish(result | {"model": str(trainer.run.model_dir), "steps": trainer.steps})
