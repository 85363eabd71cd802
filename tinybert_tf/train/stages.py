"""The training stages: fine-tuning a model on a task, and distilling a student on it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.bert import NAMED_SIZES, BertConfig, BertModel, build_model, logits_model
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data import Split, Task, TaskData, Tokenizer, batches, count_batches, label_ids, load_task
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import predictor, score
from tinybert_tf.settings import setting
from tinybert_tf.train.distribution import make_strategy
from tinybert_tf.train.fit import SAVE_EVERY_SECONDS, Evaluation, fit
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import fast_inference_dtype
from tinybert_tf.train.run import Run, finished_result
from tinybert_tf.train.student import INIT_HELP, ROWS_FOR_INIT, make_student


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """What every program that trains on a task is told."""

    task: str = setting("", "the task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli or sample", required=True)
    output_dir: str = setting("", "where the run is written", required=True)
    data_dir: str | None = setting(None, "a folder of GLUE files in their original layout; absent: TensorFlow Datasets")
    seed: int = setting(0, "of initial values, order and dropout")
    train_batch_size: int = setting(32, "examples in a step")
    seq_len: int | None = setting(None, "longest length in tokens; absent: the task's")
    max_train_examples: int | None = setting(None, "use only the first rows of the training set")
    max_steps: int | None = setting(None, "end each stage after this many steps")
    evaluations: int = setting(5, "how often a stage is scored on dev")
    strategy: str = setting("one_device", "one_device, mirrored or tpu")
    num_devices: int | None = setting(None, "of --strategy=mirrored; without GPUs that many logical CPU devices")
    save_every_seconds: float = setting(SAVE_EVERY_SECONDS, "how often a checkpoint is written")

    def __post_init__(self):
        for name in ("train_batch_size", "seq_len", "max_train_examples", "max_steps", "evaluations", "num_devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name}={value}: must be at least 1")


@dataclasses.dataclass(frozen=True)
class FinetuneSettings(TaskSettings):
    model: str = setting(
        "minilm_l6", "what is fine-tuned: a model directory, a preset, or a named size (random weights)"
    )
    vocab: str | None = setting(None, "vocab.txt for a model with random weights")
    epochs: float = setting(3.0, "passes over the training set")
    learning_rate: float = setting(5e-5, "peak of the schedule")


@dataclasses.dataclass(frozen=True)
class DistillSettings(TaskSettings):
    teacher: str = setting("", "a model directory that was fine-tuned on the task", required=True)
    student: str = setting("tinybert4", "a model directory, or a named size")
    init: str = setting("auto", f"the weights of a student of a named size: {INIT_HELP}")
    stage: str = setting("both", "intermediate, prediction or both")
    augmented_data_dir: str | None = setting(
        None, "a folder in GLUE's layout whose training set replaces the task's own"
    )
    intermediate_epochs: float | None = setting(None, "absent: the paper's for the task")
    prediction_epochs: float | None = setting(None, "absent: the paper's for the task")
    intermediate_learning_rate: float = setting(5e-5, "peak of the schedule of the intermediate stage")
    prediction_learning_rate: float = setting(3e-5, "peak of the schedule of the prediction stage")
    layer_map: str = setting("uniform", "uniform, top or bottom")
    temperature: float = setting(1.0, "of the prediction loss")
    padding: str = setting("exclude", "exclude padding from the losses, or reference: as the published code")
    teacher_dtype: str = setting("auto", "auto, float32 or bfloat16")

    def __post_init__(self):
        super().__post_init__()
        if self.stage not in ("intermediate", "prediction", "both"):
            raise InputError(f"--stage={self.stage}: must be intermediate, prediction or both")


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A split with all that turns it into batches for one model."""

    split: Split
    tokenizer: Tokenizer
    task: Task
    ids: Mapping[str, int]
    batch_size: int
    seq_len: int
    seed: int

    def batches(self, epochs: float, max_steps: int | None) -> tuple[Callable[[int], tf.data.Dataset], int]:
        """(batches, steps): shuffled batches for so many passes; a part of a pass is so many of its batches.

        `batches(first)` leaves out the first so many, the rest being the same whatever `first` is.
        """
        whole = max(1, -(-epochs // 1))
        common = {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids, "epochs": int(whole)}
        _, steps = count_batches(self.split, self.tokenizer, self.task, **common)
        steps = max(1, round(steps * epochs / whole))
        steps = min(steps, max_steps) if max_steps else steps

        def from_batch(first: int) -> tf.data.Dataset:
            dataset = batches(self.split, self.tokenizer, self.task, shuffle_seed=self.seed, **common)
            return dataset.skip(first).take(steps - first)

        return from_batch, steps

    def some_rows(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Batches of features that hold about so many rows."""
        dataset = batches(
            self.split.limit(count), self.tokenizer, self.task, batch_size=32, seq_len=self.seq_len, ids=self.ids
        )
        return [features for features, _, _ in dataset]


def finetune(settings: FinetuneSettings) -> dict:
    """Fine-tunes a model on a task with its labels; the result line of `bin/finetune.py`."""
    if finished := finished_result(settings):
        return finished
    strategy = make_strategy(settings.strategy, settings.num_devices)
    keras.utils.set_random_seed(settings.seed)
    data = load_task(settings.task, settings.data_dir)
    with strategy.scope():
        model, source = _model_for(data.task, settings.model, settings.vocab, "--model")
        tokenizer = Tokenizer.from_directory(source)
        training = training_set(settings, data, model, tokenizer)
        evaluate = evaluation(model, data, tokenizer, training)
        run = Run(settings.output_dir, settings)
        scores = train_on_labels(run, "finetune", model, training, evaluate, source, settings)
    return _finish(run, data.task, scores, {"model": str(run.model_dir)})


def train_on_labels(
    run: Run,
    stage: str,
    model: BertModel,
    training: TrainingSet,
    evaluate,
    tokenizer_from: Path,
    settings: FinetuneSettings,
) -> dict[str, float]:
    """Fits `model` to the labels and keeps the best on dev in `run.model_dir`; returns its dev scores."""
    from_batch, steps = training.batches(settings.epochs, settings.max_steps)
    network = logits_model(model)
    if model.head == "regression":
        loss = keras.losses.MeanSquaredError()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(bert_adamw(settings.learning_rate, steps), loss, jit_compile=False)
    keep = lambda: run.save(model, "model", tokenizer_from)
    evaluation = Evaluation(run, stage, evaluate, keep, steps, settings.evaluations)
    fit(run, stage, network, from_batch, steps, batch_size=training.batch_size, evaluation=evaluation,
        save_every_seconds=settings.save_every_seconds)  # fmt: skip
    run.save(model, "last", tokenizer_from)
    return evaluation.best


def distill_task(settings: DistillSettings) -> dict:
    """Stage 2 of TinyBERT: a student learns a task from its fine-tuned teacher; the result of `bin/distill_task.py`."""
    if finished := finished_result(settings):
        return finished
    strategy = make_strategy(settings.strategy, settings.num_devices)
    keras.utils.set_random_seed(settings.seed)
    data = load_task(settings.task, settings.data_dir)
    teacher_dir = resolve_directory(settings.teacher)
    _, head = read_config(teacher_dir)
    if head != data.task.head:
        raise InputError(
            f"--teacher={settings.teacher}: has the head {head!r}, but task {data.task.name} needs {data.task.head!r}; "
            "fine-tune it first (bin/finetune.py)"
        )
    with strategy.scope():
        dtype = fast_inference_dtype() if settings.teacher_dtype == "auto" else settings.teacher_dtype
        teacher = load_model(teacher_dir, head=data.task.head, dtype=dtype, strict_head=True)
        tokenizer = Tokenizer.from_directory(teacher_dir)
        training = training_set(settings, data, teacher, tokenizer)
        rows = lambda: training.some_rows(ROWS_FOR_INIT)
        student, projections = make_student(
            teacher, teacher_dir, settings.student, settings.init, settings.layer_map, rows
        )
        evaluate = evaluation(student, data, tokenizer, training)
        run = Run(settings.output_dir, settings)
        scores = train_on_teacher(run, teacher, student, training, evaluate, teacher_dir, settings, projections)
    return _finish(run, data.task, scores, {"model": str(run.model_dir)})


def train_on_teacher(
    run: Run,
    teacher: BertModel,
    student: BertModel,
    training: TrainingSet,
    evaluate,
    tokenizer_from: Path,
    settings: DistillSettings,
    projections=None,
) -> dict[str, float]:
    """The stages that `settings.stage` asks for, in order; returns the dev scores of the model that is kept."""
    fitting = {"batch_size": training.batch_size, "frozen": teacher, "save_every_seconds": settings.save_every_seconds}
    scores = None
    is_past_intermediate = run.resumed is not None and run.resumed.stage == "prediction"
    if settings.stage in ("intermediate", "both") and not is_past_intermediate:
        objective = TinyBertObjective.intermediate(layers=settings.layer_map, padding=settings.padding)
        epochs = settings.intermediate_epochs or training.task.intermediate_epochs
        distiller = Distiller(teacher, student, objective, projections)
        from_batch, steps = training.batches(epochs, settings.max_steps)
        distiller.compile(bert_adamw(settings.intermediate_learning_rate, steps))
        fit(run, "intermediate", distiller, from_batch, steps, **fitting)
        names = ("intermediate", "last", "model") if settings.stage == "intermediate" else ("intermediate",)
        for name in names:
            distiller.save_projections(run.save(student, name, tokenizer_from))
        if settings.stage == "intermediate":
            scores = evaluate()
            run.log("intermediate", steps, "dev", scores)
    if settings.stage in ("prediction", "both"):
        distiller = Distiller(teacher, student, TinyBertObjective.prediction(temperature=settings.temperature))
        epochs = settings.prediction_epochs or training.task.prediction_epochs
        from_batch, steps = training.batches(epochs, settings.max_steps)
        distiller.compile(bert_adamw(settings.prediction_learning_rate, steps))
        keep = lambda: run.save(student, "model", tokenizer_from)
        evaluation = Evaluation(run, "prediction", evaluate, keep, steps, settings.evaluations)
        fit(run, "prediction", distiller, from_batch, steps, evaluation=evaluation, **fitting)
        run.save(student, "last", tokenizer_from)
        scores = evaluation.best
    return scores


def _model_for(task: Task, name: str, vocab: str | None, flag: str) -> tuple[BertModel, Path]:
    """A network with a head for the task, and the directory that its vocabulary is in."""
    label2id = task.label2id or None
    if name in NAMED_SIZES and not Path(name).is_dir() and vocab:
        vocab_file = Path(vocab)
        config = BertConfig.named(name, vocab_size=Tokenizer(vocab_file).vocab_size, label2id=label2id)
        return build_model(config, task.head), vocab_file.parent
    source = resolve_directory(name, flag)
    return load_model(source, head=task.head, label2id=label2id), source


def training_set(settings: TaskSettings, data: TaskData, labelled: BertModel, tokenizer: Tokenizer) -> TrainingSet:
    """The rows to train on, with the label ids of `labelled`."""
    seq_len = settings.seq_len or data.task.seq_len
    positions = labelled.config.max_position_embeddings
    if seq_len > positions:
        raise InputError(f"--seq_len={seq_len}: the model has {positions} positions; take a smaller one")
    ids = label_ids(data.task, labelled.config.label2id)
    augmented = getattr(settings, "augmented_data_dir", None)
    source = load_task(settings.task, augmented) if augmented else data
    split = source.train.limit(settings.max_train_examples)
    return TrainingSet(split, tokenizer, data.task, ids, settings.train_batch_size, seq_len, settings.seed)


def evaluation(model: BertModel, data: TaskData, tokenizer: Tokenizer, training: TrainingSet) -> Callable[[], dict]:
    """A function that scores `model` on dev. The rows are checked here, before anything trains."""
    count_batches(data.dev, tokenizer, data.task, batch_size=1, seq_len=training.seq_len, ids=training.ids)
    predict = predictor(model, data.dev, tokenizer, data.task, seq_len=training.seq_len, ids=training.ids)
    return lambda: score(data.task, *predict())


def _finish(run: Run, task: Task, scores: dict[str, float], extra: dict) -> dict:
    return run.finish({"task": task.name, "score": scores[task.main_metric], "metrics": scores} | extra)
