"""Predictions as files: GLUE's test sets, SQuAD's answers, the user's own examples, and raw text."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinybert_tf.checkpoints import resolve_directory
from tinybert_tf.data import Example, Split, Task
from tinybert_tf.data.lines import numbered_lines, whole_characters, without_end
from tinybert_tf.data.settings import DataSettings, check_truncation
from tinybert_tf.data.squad import allows_no_answer
from tinybert_tf.distribution import distributed, is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.api import answers, open_model, predict_split, raw_task
from tinybert_tf.evaluate.logits import Logits
from tinybert_tf.evaluate.settings import ModelSettings
from tinybert_tf.evaluate.squad import Prediction, write_squad_predictions
from tinybert_tf.evaluate.submission import submission_names, submission_words, write_submission, zip_submissions
from tinybert_tf.evaluate.task_model import TaskModel, open_task_model
from tinybert_tf.files import atomic_write
from tinybert_tf.settings import nested, setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """Settings of bin/predict.py.

    A task of GLUE (also ax, with the model of mnli) gives GLUE's prediction files; squad1 and squad2 the answers to the dev
    set as the official scripts read them; custom and token_classification the predictions of `dev_file`.
    """

    data: DataSettings = nested(DataSettings, task="")
    model: ModelSettings = nested(ModelSettings)
    text: str | None = setting(None, "a text to predict, instead of a task")
    text_pair: str | None = setting(None, "the second text, for a model of pairs")
    input_file: str | None = setting(
        None, "texts to predict instead of a task, one a line; for pairs two, with a tab between them"
    )
    null_threshold: float = setting(
        0.0, "squad2: no answer where its odds are above this; bin/evaluate.py reports the best value"
    )
    output_dir: str | None = setting(None, "where files are written; absent: predictions of raw text are printed")

    def __post_init__(self):
        if sum(bool(given) for given in (self.data.task, self.text is not None, self.input_file)) != 1:
            raise InputError("give one of `task`, `text` and `input_file`")
        if self.text_pair is not None and self.text is None:
            raise InputError("goes with `text`; in an `input_file` a tab separates the texts of a pair", "text_pair")
        if self.data.task and not self.output_dir:
            raise InputError("is missing; it is where the prediction files are written", "output_dir")


def predict(settings: PredictSettings) -> dict:
    """Predicts a task's test sets into files, or raw text.

    Args:
        settings: of the program.

    Returns:
        The RESULT of `bin/predict.py`: of a single text its answer; else `rows`, the number of predictions, and for GLUE
        `archive` and `missing`, the files that GLUE expects besides.

    Raises:
        InputError: nothing to predict, a model of another task, or malformed examples.
    """
    own, data = settings.model, settings.data
    with distributed(own.devices):
        if not data.task:
            return _predict_raw_text(settings)
        trained = open_task_model(own.model_dir, data, own.batch_size)
        task, directory = trained.data.task, Path(settings.output_dir)
        if task.kind == "span":
            return _write_answers(directory, task, trained.answer(trained.data.dev), settings.null_threshold)
        if submission_names(task):
            return _write_submissions(directory, trained)
        split = trained.data.test
        return _write_rows(directory, task, split, trained.predict(split)[0])


def _write_answers(directory: Path, task: Task, answers: Mapping[str, Prediction], null_threshold: float) -> dict:
    if is_chief():
        write_squad_predictions(directory, task, answers, null_threshold)
        odds = ", null_odds.json" if allows_no_answer(task) else ""
        logger.info("wrote %s: predictions.json, nbest.json%s", directory, odds)
    return {"task": task.name, "rows": {"predictions.json": len(answers)}}


def _write_submissions(directory: Path, trained: TaskModel) -> dict:
    """GLUE's prediction files, and the zip to upload."""
    task, rows = trained.data.task, {}
    names = submission_names(task)
    for split in trained.data.test_splits():
        path = directory / names[split.name]
        words = submission_words(task, trained.predict(split)[0])
        rows[path.name] = len(words)
        if is_chief():
            write_submission(path, words)
            logger.info("wrote %s", path)
    result = {"task": task.name, "rows": rows}
    if not is_chief():
        return result
    archive, present, missing = zip_submissions(directory)
    wanted = f"; GLUE wants {', '.join(missing)} too" if missing else ""
    logger.info("wrote %s: %s%s", archive, ", ".join(present), wanted)
    return result | {"archive": str(archive), "missing": missing}


def _predict_raw_text(settings: PredictSettings) -> dict:
    own = settings.model
    model, tokenizer = open_model(
        own.model_dir, settings.data.open_tokenizer(resolve_directory(own.model_dir, "--model_dir"))
    )
    check_truncation(model.head, settings.data.truncate)
    if settings.text is not None:
        for name in ("text", "text_pair"):
            whole_characters(getattr(settings, name) or "", f"`{name}`")
        split = Split("text", "text", lambda: iter([Example(0, settings.text, settings.text_pair, None)]))
    else:
        path = Path(settings.input_file)
        split = Split(path.name, str(path), lambda: _read_texts(path))
    batch_size = own.batch_size if settings.text is None else 1
    split, logits = predict_split(model, split, tokenizer, seq_len=settings.data.seq_len, batch_size=batch_size)
    task = raw_task(model, split)
    if settings.output_dir:
        return _write_rows(Path(settings.output_dir), task, split, logits)
    found = list(answers(task, split, logits))
    if settings.text is not None:
        return found[0]
    return {"rows": len(found), "answers": found}


def _read_texts(path: Path) -> Iterator[Example]:
    """One text a line, or two with a tab between them."""
    columns, number = None, 0
    for number, line in numbered_lines(path):
        fields = without_end(line).split("\t")
        columns = columns or len(fields)
        if len(fields) != columns or columns > 2:
            raise InputError(
                f"{path}, line {number}: {len(fields) - 1} tabs; a line is one text, or two with one tab between them, the "
                "same in all lines"
            )
        yield Example(number - 1, fields[0], fields[1] if columns == 2 else None, None)
    if not number:
        raise InputError(f"{path}: the file is empty")


def _write_rows(directory: Path, task: Task, split: Split, logits: Logits) -> dict:
    """Writes `predictions.jsonl`, a row each."""
    path = directory / "predictions.jsonl"
    lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers(task, split, logits)]
    if is_chief():
        with atomic_write(path) as aside:
            aside.write_text("".join(lines), encoding="utf-8", newline="\n")
        logger.info("wrote %s: %d rows", path, len(lines))
    return {"task": task.name, "rows": {path.name: len(lines)}}
