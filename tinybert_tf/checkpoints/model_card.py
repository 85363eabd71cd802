"""The model card (README.md) of a model directory, with the metadata block that Hugging Face's hub reads."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tinybert_tf.files import atomic_write

_CLASSES = {
    "encoder": "AutoModel",
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "masked_lm": "AutoModelForMaskedLM",
}
_PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "token_classification": "token-classification",
    "span": "question-answering",
    "masked_lm": "fill-mask",
}


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a card says; a section without facts is left out.

    Attributes:
        head: of the model; see `HEADS`.
        task: name of the task, or None for a model of no task.
        data: where the training examples are from, in words.
        parameters: number of weights.
        scores: metric -> value from 0 to 1, on the dev set.
        teacher: the teacher's name and, if known, its score, in words.
        measured: further figures, such as file sizes in MB and milliseconds; name -> value in words.
        settings: of the training run.
        network: "BERT", or "BiLSTM", which transformers does not know.
    """

    head: str
    task: str | None
    data: str
    parameters: int
    scores: Mapping[str, float]
    teacher: str | None = None
    measured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = "BERT"


def write_model_card(directory: str | Path, card: ModelCard) -> Path:
    """Writes README.md into a model directory; returns its path."""
    path = Path(directory) / "README.md"
    with atomic_write(path) as aside:
        aside.write_text(model_card_text(card, Path(directory).resolve().name), encoding="utf-8")
    return path


def add_measured(directory: str | Path, measured: Mapping[str, str]) -> None:
    """Adds figures to the sizes in a model directory's card, in place of those of the same names; no card, no figures.

    Args:
        directory: of the model.
        measured: see `ModelCard`.
    """
    path = Path(directory) / "README.md"
    if not path.is_file():
        return
    replaced = tuple(f"| {_text(name)} |" for name in measured)
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith(replaced)]
    sizes = [number for number, line in enumerate(lines) if line.startswith("| parameters |")]
    if not sizes or not measured:
        return
    lines[sizes[0] + 1 : sizes[0] + 1] = _rows(measured)
    with atomic_write(path) as aside:
        aside.write_text("\n".join(lines), encoding="utf-8")


def model_card_text(card: ModelCard, name: str) -> str:
    """The model card as Markdown.

    Args:
        card: the facts.
        name: the model's name, also in the examples of how to load it.
    """
    sections = [
        f"---\n{yaml.safe_dump(_metadata(card, name), sort_keys=False)}---",
        f"# {_text(name)}",
        _summary(card),
        "## Scores\n\n" + _table("metric", "dev", {k: f"{100 * v:.1f}" for k, v in card.scores.items()})
        if card.scores
        else "",
        "## Size and speed\n\n" + _table("", "", {"parameters": f"{card.parameters:,}", **card.measured}),
        "## Limits\n\nTrained and scored on the data above alone; other text, other languages and other label definitions "
        "were not tested. A distilled model takes over its teacher's errors and biases.",
        "## How to load it\n\n" + _loading(card, name),
        "## Settings\n\n" + _table("setting", "value", {k: f"`{v}`" for k, v in card.settings.items() if v is not None})
        if card.settings
        else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _metadata(card: ModelCard, name: str) -> dict[str, Any]:
    library = "transformers" if card.network == "BERT" else "keras"
    values: dict[str, Any] = {"library_name": library, "tags": ["tinybert", "distillation", "keras", "tflite"]}
    if card.head in _PIPELINES:
        values["pipeline_tag"] = _PIPELINES[card.head]
    if card.scores and card.task:
        metrics = [{"type": metric, "value": round(float(value), 4)} for metric, value in card.scores.items()]
        result = {
            "task": {"type": _PIPELINES.get(card.head, "other")},
            "dataset": {"name": card.task, "type": card.task, "split": "validation"},
            "metrics": metrics,
        }
        values["model-index"] = [{"name": name, "results": [result]}]
    return values


def _summary(card: ModelCard) -> str:
    parts = [f"A {card.network} with {card.parameters / 1e6:.1f} million parameters"]
    parts.append(f"for the task {_text(card.task)}" if card.task else "without a task")
    text = " ".join(parts) + f", trained on {_text(card.data)}"
    return text + (f", distilled from {_text(card.teacher)}." if card.teacher else ".")


def _loading(card: ModelCard, name: str) -> str:
    kind = _CLASSES[card.head]
    blocks = [
        f'```python\nfrom transformers import AutoTokenizer, {kind}\n\nmodel = {kind}.from_pretrained("{name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n```',
        f'```python\nimport tinybert_tf as tb  # Keras\n\nmodel = tb.load_model("{name}")\n```',
        f"```sh\npython tflite/convert.py --model_dir={name} --output={name}.tflite --quantize=int8   # MediaPipe, LiteRT\n```",
    ]
    return "\n\n".join(blocks if card.network == "BERT" else blocks[1:])


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---|", *_rows(rows)])


def _rows(rows: Mapping[str, str]) -> list[str]:
    return [f"| {_text(name)} | {_text(value)} |" for name, value in rows.items()]


def _text(value: str | None) -> str:
    """Text as one line that is safe in a Markdown table and in HTML."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
