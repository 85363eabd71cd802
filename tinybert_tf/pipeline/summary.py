"""A pipeline's report on its models: files for the device, rows of the table, attention maps."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tinybert_tf.bert import encoder_flops
from tinybert_tf.checkpoints import load_model, read_config
from tinybert_tf.checkpoints.model_card import add_measured
from tinybert_tf.data import Split, Tokenizer
from tinybert_tf.distill import layer_map
from tinybert_tf.evaluate.metrics import retention
from tinybert_tf.export import benchmark, example_texts, export_tflite
from tinybert_tf.pipeline.diagnosis import comparable
from tinybert_tf.report import plot_attention

logger = logging.getLogger(__name__)

# The files that a report compares: name -> mode of quantization.
FILES = {"float32": "none", "int8": "int8"}


def convert(folders: Mapping[str, Path], output: Path, seq_len: int, train: Split) -> dict[str, str]:
    """Writes each model as float32 and as int8 into `output`; the files by "NAME float32" and "NAME int8".

    int8 is calibrated with texts of the training set.
    """
    files, texts = {}, example_texts(train)
    for name, folder in folders.items():
        for kind, quantize in FILES.items():
            path = output / f"{name}_{kind}.tflite"
            report = export_tflite(folder, path, seq_len=seq_len, quantize=quantize, calibration_texts=texts)
            logger.info("%s: %.2f MB", path, report.mb)
            files[f"{name} {kind}"] = str(path)
    return files


def measure(files: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """`mb` and `ms` (median, one thread) of each file, measured alternately in one run."""
    reports = benchmark(list(files.values()))
    return {name: {"mb": report.mb, "ms": report.median_ms} for name, report in zip(files, reports, strict=True)}


def model_row(
    name: str, folder: Path, score: float, teacher_score: float, seq_len: int, measured: Mapping[str, dict]
) -> dict[str, Any]:
    """A row of the report's table; `measured` as `measure` gives it, for the models that were converted."""
    row = {
        "model": name,
        "score": score,
        "retention": retention(score, teacher_score) or 0.0,
        "parameters": load_model(folder).count_params(),
        "encoder_flops": encoder_flops(read_config(folder)[0], seq_len),
    }
    for kind in FILES:
        found = measured.get(f"{name} {kind}", {})
        row |= {f"{'float' if kind == 'float32' else kind}_{key}": value for key, value in found.items()}
    return row


def add_to_card(name: str, folder: Path, measured: Mapping[str, dict]) -> None:
    """Adds size and time of a model's files, as `measure` gives them, to its card."""
    found = {kind: measured[f"{name} {kind}"] for kind in FILES if f"{name} {kind}" in measured}
    add_measured(folder, {f"{kind} file": f"{file['mb']:.1f} MB, {file['ms']:.2f} ms" for kind, file in found.items()})


def plot_attention_of(
    teacher_dir: Path,
    student_dir: Path,
    text: str,
    text_pair: str | None,
    layers: str | Sequence[int],
    seq_len: int,
    path: Path,
) -> list[Path]:
    """Teacher's and student's attention probabilities of one text, over the layers that were matched.

    Args:
        teacher_dir: a model directory.
        student_dir: another one.
        text: of an example.
        text_pair: its second text, if it has one.
        layers: the layer map; see `layer_map`.
        seq_len: longest length in tokens.
        path: where the PNG goes.

    Returns:
        The plots: `path`, or none of networks that are not `comparable`.
    """
    if not comparable(teacher_dir, student_dir):
        return []
    tokenizer = Tokenizer.from_directory(student_dir)
    pair = None if text_pair is None else [text_pair]
    length = int(tokenizer.encode([text], pair, seq_len)[0].row_lengths()[0])
    features = tokenizer([text], pair, seq_len=length)
    tokens = [tokenizer.vocabulary[index] for index in features["input_word_ids"].numpy()[0]]
    probabilities = []
    for folder in (teacher_dir, student_dir):
        logits = load_model(folder)(features, training=False)["attention_logits"]
        probabilities.append([tf.nn.softmax(layer[0]).numpy() for layer in logits])
    teacher, student = probabilities
    mapped = layer_map(layers, len(student), len(teacher))
    plot_attention([teacher[n - 1] for n in mapped], student, tokens, list(enumerate(mapped, 1)), path)
    return [path]
