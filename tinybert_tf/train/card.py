"""The model card of a run: its data, teacher, scores and settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert_tf.bert import BertModel, BiLstmModel
from tinybert_tf.checkpoints.model_card import ModelCard, write_model_card
from tinybert_tf.files import writing
from tinybert_tf.presets import is_hub_name
from tinybert_tf.train.run import Run

# Settings that are paths on one machine.
_PLACES = {"output_dir", "data_dir", "cache_dir", "teacher_cache"}
_IN_A_RUN = ("model", "last", "intermediate")


def write_card(
    run: Run,
    model: BertModel | BiLstmModel,
    data: str,
    *,
    task: str | None = None,
    scores: Mapping[str, float] | None = None,
    teacher_score: float | None = None,
) -> None:
    """Writes README.md into the model directory of a finished run.

    Args:
        run: whose `model_dir` and settings are described.
        model: the network.
        data: the training examples, in words.
        task: name of the task, or None.
        scores: dev metrics from 0 to 1.
        teacher_score: main dev score of the teacher, if the settings name one.
    """
    if not run.writes:
        return
    settings = run.description["settings"]
    teacher = settings.get("teacher")
    if teacher:
        teacher = place_name(teacher)
        teacher += "" if teacher_score is None else f" (dev score {100 * teacher_score:.1f})"
    settings = {name: _shown(value) for name, value in settings.items() if not _is_place(name)}
    card = ModelCard(
        model.head,
        task,
        data,
        model.count_params(),
        scores or {},
        teacher,
        settings=settings,
        network="BiLSTM" if isinstance(model, BiLstmModel) else "BERT",
    )
    with writing(run.directory):
        write_model_card(run.model_dir, card)


def place_name(value: str | Path) -> str:
    """The last component of a path, or the run that a model directory belongs to; a hub's or another name as it is.

    >>> place_name("runs/teacher/model"), place_name("glue/SST-2"), place_name("minilm_l6")
    ('teacher', 'SST-2', 'minilm_l6')
    """
    if "/" not in str(value) or (is_hub_name(value) and not Path(value).exists()):
        return str(value)
    path = Path(value)
    return path.parent.name if path.name in _IN_A_RUN and path.parent.name else path.name


def _is_place(name: str) -> bool:
    return name in _PLACES or name.endswith("_file")


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_shown(part) for part in value]
    return place_name(value) if isinstance(value, str) else value
