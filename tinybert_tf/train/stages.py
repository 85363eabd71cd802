"""The training stages: fine-tuning a model on a task, and distilling a student on it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import keras

from tinybert_tf.bert import NAMED_SIZES, BertConfig, BertModel, build_model, logits_model
from tinybert_tf.checkpoints import load_model, read_config, read_projections, resolve_directory
from tinybert_tf.data import Split, Task, TaskData, Tokenizer, batches, count_batches, label_ids, load_task
from tinybert_tf.distill import Distiller, TinyBertObjective
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import predictor, score
from tinybert_tf.settings import setting
from tinybert_tf.train.distribution import make_strategy
from tinybert_tf.train.optimizer import bert_adamw
from tinybert_tf.train.precision import fast_inference_dtype
from tinybert_tf.train.run import DevEvaluation, Progress, Run


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
    student: str = setting("tinybert4", "a model directory, or a named size (random weights)")
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

    def batches(self, epochs: float, max_steps: int | None):
        """(dataset, steps): shuffled batches for so many passes; a part of a pass is so many of its batches."""
        whole = max(1, -(-epochs // 1))
        common = {"batch_size": self.batch_size, "seq_len": self.seq_len, "ids": self.ids, "epochs": int(whole)}
        _, steps = count_batches(self.split, self.tokenizer, self.task, **common)
        steps = max(1, round(steps * epochs / whole))
        steps = min(steps, max_steps) if max_steps else steps
        dataset = batches(self.split, self.tokenizer, self.task, shuffle_seed=self.seed, **common)
        return dataset.take(steps), steps


def finetune(settings: FinetuneSettings) -> dict:
    """Fine-tunes a model on a task with its labels; the result line of `bin/finetune.py`."""
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
    dataset, steps = training.batches(settings.epochs, settings.max_steps)
    network = logits_model(model)
    if model.head == "regression":
        loss = keras.losses.MeanSquaredError()
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(bert_adamw(settings.learning_rate, steps), loss, jit_compile=False)
    every = -(-steps // settings.evaluations)
    dev = DevEvaluation(run, stage, model, evaluate, steps, every, tokenizer_from)
    _fit(network, dataset, steps, [Progress(run, stage, steps, training.batch_size), dev], run, model, tokenizer_from)
    return dev.best


def distill_task(settings: DistillSettings) -> dict:
    """Stage 2 of TinyBERT: a student learns a task from its fine-tuned teacher; the result of `bin/distill_task.py`."""
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
        student, projections = _student_of(teacher, settings.student, teacher_dir)
        tokenizer = Tokenizer.from_directory(teacher_dir)
        training = training_set(settings, data, teacher, tokenizer)
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
    matching = {"layers": settings.layer_map, "padding": settings.padding}
    scores = None
    if settings.stage in ("intermediate", "both"):
        objective = TinyBertObjective.intermediate(**matching)
        epochs = settings.intermediate_epochs or training.task.intermediate_epochs
        distiller = Distiller(teacher, student, objective, projections)
        dataset, steps = training.batches(epochs, settings.max_steps)
        distiller.compile(bert_adamw(settings.intermediate_learning_rate, steps))
        progress = Progress(run, "intermediate", steps, training.batch_size)
        _fit(distiller, dataset, steps, [progress], run, student, tokenizer_from)
        saved = run.save(student, "intermediate", tokenizer_from)
        distiller.save_projections(saved)
        if settings.stage == "intermediate":
            scores = evaluate()
            run.log("intermediate", steps, "dev", scores)
            run.save(student, "model", tokenizer_from)
            distiller.save_projections(run.model_dir)
    if settings.stage in ("prediction", "both"):
        distiller = Distiller(teacher, student, TinyBertObjective.prediction(temperature=settings.temperature))
        epochs = settings.prediction_epochs or training.task.prediction_epochs
        dataset, steps = training.batches(epochs, settings.max_steps)
        distiller.compile(bert_adamw(settings.prediction_learning_rate, steps))
        every = -(-steps // settings.evaluations)
        dev = DevEvaluation(run, "prediction", student, evaluate, steps, every, tokenizer_from)
        progress = Progress(run, "prediction", steps, training.batch_size)
        _fit(distiller, dataset, steps, [progress, dev], run, student, tokenizer_from)
        scores = dev.best
    return scores


def _fit(model, dataset, steps, callbacks, run: Run, network: BertModel, tokenizer_from: Path) -> None:
    """Keras' fit over exactly `steps` batches. The last weights are kept too, also of an interrupted run."""
    try:
        model.fit(dataset, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=callbacks)
    finally:
        run.save(network, "last", tokenizer_from)


def _model_for(task: Task, name: str, vocab: str | None, flag: str) -> tuple[BertModel, Path]:
    """A network with a head for the task, and the directory that its vocabulary is in."""
    label2id = task.label2id or None
    if name in NAMED_SIZES and not Path(name).is_dir() and vocab:
        vocab_file = Path(vocab)
        config = BertConfig.named(name, vocab_size=Tokenizer(vocab_file).vocab_size, label2id=label2id)
        return build_model(config, task.head), vocab_file.parent
    source = resolve_directory(name, flag)
    return load_model(source, head=task.head, label2id=label2id), source


def _student_of(teacher: BertModel, name: str, teacher_dir: Path):
    """The student, with the teacher's labels, and the projections that lie beside it if any."""
    labels = teacher.config.label2id if teacher.head == "classification" else None
    if name in NAMED_SIZES and not Path(name).is_dir():
        config = BertConfig.named(name, vocab_size=teacher.config.vocab_size, label2id=labels)
        return build_model(config, teacher.head), None
    source = resolve_directory(name, "--student")
    student = load_model(source, head=teacher.head, label2id=labels)
    return student, read_projections(source, student.config.num_hidden_layers + 1)


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
    result = {"task": task.name, "score": scores[task.main_metric], "metrics": scores} | extra
    run.finish(result)
    return result
