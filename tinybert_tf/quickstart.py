"""The whole pipeline on the built-in sample: teacher, student, the same student without a teacher, TFLite, report."""

import dataclasses
import gc
import json
import logging
from pathlib import Path

import keras
import tensorflow as tf

from tinybert_tf.bert import BertConfig, BertModel, build_model, encoder_flops
from tinybert_tf.checkpoints import load_model, read_config, resolve_directory
from tinybert_tf.data import Tokenizer, get_task, load_task
from tinybert_tf.distill import layer_map
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate import predict_logits, score
from tinybert_tf.export import benchmark, export_tflite
from tinybert_tf.report import plot_attention, write_report
from tinybert_tf.settings import setting
from tinybert_tf.train.precision import fast_inference_dtype
from tinybert_tf.train.run import Run
from tinybert_tf.train.stages import (
    DistillSettings,
    FinetuneSettings,
    TaskSettings,
    evaluation,
    train_on_labels,
    train_on_teacher,
    training_set,
)

logger = logging.getLogger(__name__)

# A quarter of MiniLM's encoder FLOPs, as deep as TinyBERT4, with the teacher's twelve heads.
STUDENT = {"num_hidden_layers": 4, "hidden_size": 240, "num_attention_heads": 12, "intermediate_size": 840}


@dataclasses.dataclass(frozen=True)
class QuickstartSettings(TaskSettings):
    task: str = setting("sample", "the task; others need --data_dir")
    output_dir: str = setting("runs/quickstart", "where everything is written")
    teacher: str = setting("minilm_l6", "a pretrained model directory or preset")
    teacher_epochs: float = setting(3.0, "of the teacher's fine-tuning")
    teacher_learning_rate: float = setting(1e-4, "of the teacher's fine-tuning")
    intermediate_epochs: float = setting(8.0, "of the student's first stage")
    intermediate_learning_rate: float = setting(
        1e-3, "high, since this student is small and starts from random weights"
    )
    prediction_epochs: float = setting(4.0, "of the student's second stage")
    prediction_learning_rate: float = setting(2e-4, "of the student's second stage")


def quickstart(settings: QuickstartSettings) -> dict:
    """Runs everything and writes it under `settings.output_dir`; the result line of `bin/quickstart.py`."""
    root = Path(settings.output_dir)
    data = load_task(settings.task, settings.data_dir)
    source = _pretrained(settings)

    _say("1/6", f"fine-tuning the teacher on {settings.task}")
    teacher_dir = _finetune_teacher(settings, source, root / "teacher")

    _say("2/6", "distilling the student, both task stages")
    student_dir = _distil_student(settings, teacher_dir, root / "student")

    _say("3/6", "training the same student without a teacher, on as many steps")
    alone_dir = _train_alone(settings, teacher_dir, root)

    _say("4/6", "evaluating on dev")
    folders = {"teacher": teacher_dir, "student": student_dir, "student without teacher": alone_dir}
    scores = {name: _dev_score(folder, data, settings) for name, folder in folders.items()}

    _say("5/6", "converting to TFLite and measuring")
    seq_len = settings.seq_len or data.task.seq_len
    files = {}
    for name, folder in (("teacher", teacher_dir), ("student", student_dir)):
        for mode in ("none", "dynamic"):
            files[name, mode] = root / f"{name}_{'float32' if mode == 'none' else 'int8'}.tflite"
            export_tflite(folder, files[name, mode], seq_len=seq_len, quantize=mode)
    measured = dict(zip(files, benchmark(list(files.values())), strict=True))

    _say("6/6", "writing the report")
    result = _result(data.task.name, folders, scores, measured)
    report = _report(root, settings, folders, scores, measured, result, data)
    return result | {"report": str(report.html)}


def _say(step: str, what: str) -> None:
    """Announces a step, and lets go of the networks and graphs of the one before."""
    keras.backend.clear_session()
    gc.collect()
    print(f"[{step}] {what}", flush=True)


def _pretrained(settings: QuickstartSettings) -> Path | None:
    """The directory of the pretrained teacher, or None where it cannot be had: the teacher then starts from nothing."""
    try:
        return resolve_directory(settings.teacher)
    except InputError as error:
        print(f"no pretrained teacher ({error}); training a small one from random weights instead", flush=True)
        return None


def _finetune_teacher(settings: QuickstartSettings, source: Path | None, output: Path) -> Path:
    keras.utils.set_random_seed(settings.seed)
    data = load_task(settings.task, settings.data_dir)
    labels = data.task.label2id or None
    if source is None:
        source = _write_vocabulary(data, output.parent / "vocabulary")
        size = Tokenizer.from_directory(source).vocab_size
        model = build_model(BertConfig.named("minilm_l6", vocab_size=size, label2id=labels), data.task.head)
    else:
        model = load_model(source, head=data.task.head, label2id=labels)
    finetuning = _finetune_settings(settings, output, settings.teacher_epochs, settings.teacher_learning_rate)
    tokenizer = Tokenizer.from_directory(source)
    run = Run(output, finetuning)
    training = training_set(finetuning, data, model, tokenizer)
    evaluate = evaluation(model, data, tokenizer, training)
    scores = train_on_labels(run, "finetune", model, training, evaluate, source, finetuning)
    run.finish({"task": data.task.name, "score": scores[data.task.main_metric], "metrics": scores})
    return run.model_dir


def _write_vocabulary(data, folder: Path) -> Path:
    """A word-level vocabulary of the training set, for a teacher that has none to bring along."""
    words = sorted({word for row in data.train for word in f"{row.text} {row.text_pair or ''}".lower().split()})
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(special + words) + "\n", encoding="utf-8")
    return folder


def _finetune_settings(settings: QuickstartSettings, output: Path, epochs: float, learning_rate: float):
    common = {field.name: getattr(settings, field.name) for field in dataclasses.fields(TaskSettings)}
    return FinetuneSettings(**(common | {"output_dir": str(output)}), epochs=epochs, learning_rate=learning_rate)


def _student(teacher: BertConfig, head: str) -> BertModel:
    shape = STUDENT | {"vocab_size": teacher.vocab_size, "max_position_embeddings": teacher.max_position_embeddings}
    return build_model(teacher.replace(**shape), head)


def _distil_student(settings: QuickstartSettings, teacher_dir: Path, output: Path) -> Path:
    keras.utils.set_random_seed(settings.seed)
    data = load_task(settings.task, settings.data_dir)
    teacher = load_model(teacher_dir, dtype=fast_inference_dtype(), strict_head=True)
    student = _student(teacher.config, teacher.head)
    common = {field.name: getattr(settings, field.name) for field in dataclasses.fields(TaskSettings)}
    distilling = DistillSettings(
        **(common | {"output_dir": str(output)}),
        teacher=str(teacher_dir),
        student="quickstart",
        intermediate_epochs=settings.intermediate_epochs,
        intermediate_learning_rate=settings.intermediate_learning_rate,
        prediction_epochs=settings.prediction_epochs,
        prediction_learning_rate=settings.prediction_learning_rate,
    )
    tokenizer = Tokenizer.from_directory(teacher_dir)
    run = Run(output, distilling)
    training = training_set(distilling, data, teacher, tokenizer)
    evaluate = evaluation(student, data, tokenizer, training)
    scores = train_on_teacher(run, teacher, student, training, evaluate, teacher_dir, distilling)
    run.finish({"task": data.task.name, "score": scores[data.task.main_metric], "metrics": scores})
    return run.model_dir


def _train_alone(settings: QuickstartSettings, teacher_dir: Path, root: Path) -> Path:
    """The baseline: the same architecture, initial values, data and number of steps, with labels for a teacher."""
    keras.utils.set_random_seed(settings.seed)
    data = load_task(settings.task, settings.data_dir)
    config, head = read_config(teacher_dir)
    student = _student(config, head)
    epochs = settings.intermediate_epochs + settings.prediction_epochs
    # The two stages end after max_steps each.
    steps = None if settings.max_steps is None else 2 * settings.max_steps
    training_settings = dataclasses.replace(
        _finetune_settings(settings, root / "no_teacher", epochs, settings.prediction_learning_rate), max_steps=steps
    )
    tokenizer = Tokenizer.from_directory(teacher_dir)
    run = Run(root / "no_teacher", training_settings)
    training = training_set(training_settings, data, student, tokenizer)
    evaluate = evaluation(student, data, tokenizer, training)
    scores = train_on_labels(run, "no_teacher", student, training, evaluate, teacher_dir, training_settings)
    run.finish({"task": data.task.name, "score": scores[data.task.main_metric], "metrics": scores})
    return run.model_dir


def _dev_score(folder: Path, data, settings: QuickstartSettings) -> float:
    model = load_model(folder)
    tokenizer = Tokenizer.from_directory(folder)
    logits, labels = predict_logits(model, data.dev, tokenizer, data.task, seq_len=settings.seq_len)
    return score(data.task, logits, labels)[data.task.main_metric]


def _result(task: str, folders, scores, measured) -> dict:
    params = {name: load_model(folder).count_params() for name, folder in folders.items()}
    student = {"float": measured["student", "none"], "int8": measured["student", "dynamic"]}
    return {
        "task": task,
        "score": scores["student"],
        "metrics": {get_task(task).main_metric: scores["student"]},
        "teacher_score": scores["teacher"],
        "student_score": scores["student"],
        "no_teacher_score": scores["student without teacher"],
        "retention": scores["student"] / scores["teacher"] if scores["teacher"] else 0.0,
        "teacher_params": params["teacher"],
        "student_params": params["student"],
        "float_mb": student["float"].mb,
        "int8_mb": student["int8"].mb,
        "float_ms": student["float"].median_ms,
        "int8_ms": student["int8"].median_ms,
    }


def _report(root: Path, settings, folders, scores, measured, result, data):
    seq_len = settings.seq_len or data.task.seq_len
    rows = []
    for name, folder in folders.items():
        row = {
            "model": name,
            "score": scores[name],
            "retention": scores[name] / scores["teacher"] if scores["teacher"] else 0.0,
            "parameters": load_model(folder).count_params(),
            "encoder_flops": encoder_flops(read_config(folder)[0], seq_len),
        }
        if (name, "none") in measured:
            float32, int8 = measured[name, "none"], measured[name, "dynamic"]
            row |= {"float_mb": float32.mb, "int8_mb": int8.mb}
            row |= {"float_ms": float32.median_ms, "int8_ms": int8.median_ms}
        rows.append(row)
    maps = root / "attention.png"
    sentence = next(iter(data.dev)).text
    _plot_attention(folders["teacher"], folders["student"], sentence, maps)
    curves = {name: folder.parent / "metrics.jsonl" for name, folder in folders.items()}
    return write_report(
        root,
        f"TinyBERT quickstart: {data.task.name}",
        rows,
        curves,
        [(f"Attention of teacher and student: “{sentence}”", maps)],
        json.loads((folders["student"].parent / "run.json").read_text())["settings"],
    )


def _plot_attention(teacher_dir: Path, student_dir: Path, sentence: str, path: Path) -> None:
    """Teacher's and student's attention probabilities of one sentence, over the layers that were matched."""
    tokenizer = Tokenizer.from_directory(student_dir)
    length = int(tokenizer.encode([sentence])[0].row_lengths()[0])
    features = tokenizer([sentence], seq_len=length)
    tokens = [tokenizer.vocabulary[index] for index in features["input_word_ids"].numpy()[0]]
    probabilities = []
    for folder in (teacher_dir, student_dir):
        logits = load_model(folder)(features, training=False)["attention_logits"]
        probabilities.append([tf.nn.softmax(layer[0]).numpy() for layer in logits])
    teacher, student = probabilities
    mapped = layer_map("uniform", len(student), len(teacher))
    plot_attention([teacher[n - 1] for n in mapped], student, tokens, list(enumerate(mapped, 1)), path)
