"""Runs teacher and student on dev examples for the report's comparison of the two."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tinybert_tf.bert import BertModel, BiLstmConfig
from tinybert_tf.checkpoints import load_model, read_config
from tinybert_tf.data import Example, TaskData, Tokenizer, label_ids
from tinybert_tf.distill import layer_map
from tinybert_tf.report.diagnosis import Diagnosis, cka_matrix

# Numbers of examples whose scores and whose hidden states are compared: CKA needs some thousand tokens.
_EXAMPLES, _EXAMPLES_OF_TRAIN, _EXAMPLES_FOR_CKA, _BATCH = 1000, 500, 64, 32


def comparable(teacher_dir: Path, student_dir: Path) -> bool:
    """Whether layers of two networks can be shown side by side: not of a BiLSTM, nor for other tokens or more layers than the
    teacher's.
    """
    teacher, student = (read_config(folder)[0] for folder in (teacher_dir, student_dir))
    if isinstance(student, BiLstmConfig) or student.num_hidden_layers > teacher.num_hidden_layers:
        return False
    words = [Tokenizer.from_directory(folder).vocabulary for folder in (teacher_dir, student_dir)]
    return words[0] == words[1]


def diagnose(
    teacher_dir: Path, student_dir: Path, data: TaskData, layers: str | Sequence[int], seq_len: int
) -> Diagnosis | None:
    """A report's comparison of teacher and student on dev; None for tasks of spans and tags, and where they are not
    `comparable`.

    Args:
        teacher_dir: a model directory.
        student_dir: another one.
        data: their task.
        layers: the layer map; see `layer_map`.
        seq_len: longest length in tokens.
    """
    if data.task.kind not in ("classification", "regression") or not comparable(teacher_dir, student_dir):
        return None
    teacher, student = load_model(teacher_dir), load_model(student_dir)
    tokenizer = Tokenizer.from_directory(student_dir)
    examples = list(itertools.islice(data.dev, _EXAMPLES))
    labels = data.task.labels if data.task.kind == "classification" else ()
    attention = [_attention(model, tokenizer, examples[0], seq_len) for model in (teacher, student)]
    hidden = [_hidden_states(model, tokenizer, examples[:_EXAMPLES_FOR_CKA], seq_len) for model in (teacher, student)]
    mapped = layer_map(layers, student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    gold = [labels.index(e.label) if labels else float(e.label) for e in examples]
    dev, train = (
        [_answers(model, tokenizer, data, rows, seq_len) for model in (teacher, student)]
        for rows in (examples, list(itertools.islice(data.train, _EXAMPLES_OF_TRAIN)))
    )
    return Diagnosis(
        tokens=_tokens(tokenizer, examples[0], seq_len),
        teacher_attention=attention[0],
        student_attention=attention[1],
        layer_map=mapped,
        cka=cka_matrix(hidden[1], hidden[0]),
        labels=labels,
        texts=[f"{e.text} / {e.text_pair}" if e.text_pair else e.text for e in examples],
        gold=np.array(gold),
        teacher=dev[0],
        student=dev[1],
        trained=(train[0], train[1]),
    )


def _features(tokenizer: Tokenizer, examples: list[Example], seq_len: int) -> dict[str, tf.Tensor]:
    pairs = None if examples[0].text_pair is None else [e.text_pair for e in examples]
    return tokenizer([e.text for e in examples], pairs, seq_len=seq_len)


def _tokens(tokenizer: Tokenizer, example: Example, seq_len: int) -> list[str]:
    features = _features(tokenizer, [example], seq_len)
    count = int(np.sum(features["input_mask"]))
    return [tokenizer.vocabulary[index] for index in features["input_word_ids"].numpy()[0, :count]]


def _attention(model: BertModel, tokenizer: Tokenizer, example: Example, seq_len: int) -> np.ndarray:
    """Probabilities `[layers, heads, tokens, tokens]` of one example."""
    features = _features(tokenizer, [example], seq_len)
    count = int(np.sum(features["input_mask"]))
    logits = model(features, training=False)["attention_logits"]
    return np.stack([tf.nn.softmax(tf.cast(layer[0], tf.float32)).numpy()[:, :count, :count] for layer in logits])


def _hidden_states(model: BertModel, tokenizer: Tokenizer, examples: list[Example], seq_len: int) -> list[np.ndarray]:
    """`[tokens, width]` of the embedding output and of each layer."""
    features = _features(tokenizer, examples, seq_len)
    mask = features["input_mask"].numpy().astype(bool)
    return [np.asarray(state)[mask] for state in model(features, training=False)["hidden_states"]]


def _answers(
    model: BertModel, tokenizer: Tokenizer, data: TaskData, examples: list[Example], seq_len: int
) -> np.ndarray:
    """Probabilities `[examples, classes]` in the task's order of labels, or scores `[examples, 1]`."""
    logits = [
        np.asarray(model(_features(tokenizer, chunk, seq_len), training=False)["logits"])
        for chunk in (examples[i : i + _BATCH] for i in range(0, len(examples), _BATCH))
    ]
    values = np.concatenate(logits)
    if data.task.kind == "regression":
        return values
    ids = label_ids(data.task, model.config.label2id)
    probabilities = tf.nn.softmax(values).numpy()
    return probabilities[:, [ids[label] for label in data.task.labels]]
