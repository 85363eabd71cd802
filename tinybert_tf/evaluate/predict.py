"""What `bin/predict.py` does: GLUE's test sets, the user's own rows, and raw text."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import scipy.special

from tinybert_tf.data import Example, Split, Task
from tinybert_tf.data.lines import numbered_lines, without_end
from tinybert_tf.data.squad import allows_no_answer
from tinybert_tf.distribution import distributed, is_chief
from tinybert_tf.errors import InputError
from tinybert_tf.evaluate.logits import Logits, predict_logits
from tinybert_tf.evaluate.squad import Prediction, write_squad_predictions
from tinybert_tf.evaluate.submission import submission_names, submission_words, write_submission, zip_submissions
from tinybert_tf.evaluate.task_model import ModelSettings, TaskModel, checked_seq_len, open_for_task, open_model
from tinybert_tf.files import written_aside
from tinybert_tf.settings import setting

# Of raw text, which has no task that says it.
RAW_TEXT_LENGTH = 128


@dataclasses.dataclass(frozen=True)
class PredictSettings(ModelSettings):
    task: str | None = setting(
        None,
        "cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli or ax (with the model of mnli): writes GLUE's prediction files; "
        "squad1 or squad2: answers the dev set as the official scripts read it; custom or token_classification: predicts the "
        "rows of --dev_file",
    )
    text: str | None = setting(None, "a text to predict; no --task then")
    text_pair: str | None = setting(None, "the second text, for a model of pairs")
    input_file: str | None = setting(
        None, "texts to predict, one a line; for pairs two, with a tab between them; no --task then"
    )
    output_dir: str | None = setting(None, "where files are written; absent: raw text is answered on the screen")

    def __post_init__(self):
        super().__post_init__()
        if sum(given is not None for given in (self.task, self.text, self.input_file)) != 1:
            raise InputError("give one of --task, --text and --input_file")
        if self.text_pair is not None and self.text is None:
            raise InputError(
                "--text_pair goes with --text; in an --input_file a tab stands between the texts of a pair"
            )
        if self.task is not None and not self.output_dir:
            raise InputError("--output_dir is missing; it is where the prediction files are written")


def predict(settings: PredictSettings) -> dict:
    """The result line of `bin/predict.py`."""
    with distributed(settings):
        if settings.task is None:
            return _predict_raw_text(settings)
        trained = open_for_task(settings, settings.task)
        task, directory = trained.data.task, Path(settings.output_dir)
        if task.kind == "span":
            return _write_answers(directory, task, trained.answer(trained.data.dev))
        if submission_names(task):
            return _write_submissions(directory, trained)
        split = trained.data.test
        return _write_rows(directory, task, split, trained.predict(split)[0])


def _write_answers(directory: Path, task: Task, answers: Mapping[str, Prediction]) -> dict:
    if is_chief():
        write_squad_predictions(directory, task, answers)
        print(f"wrote {directory}: predictions.json, nbest.json{', null_odds.json' if allows_no_answer(task) else ''}")
    return {"task": task.name, "rows": {"predictions.json": len(answers)}}


def _write_submissions(directory: Path, trained: TaskModel) -> dict:
    """GLUE's prediction files, and the archive that they are handed in as."""
    task, rows = trained.data.task, {}
    names = submission_names(task)
    for split in trained.data.test_splits():
        path = directory / names[split.name]
        words = submission_words(task, trained.predict(split)[0])
        rows[path.name] = len(words)
        if is_chief():
            write_submission(path, words)
            print(f"wrote {path}", flush=True)
    result = {"task": task.name, "rows": rows}
    if not is_chief():
        return result
    archive, present, missing = zip_submissions(directory)
    print(f"wrote {archive}: {', '.join(present)}" + (f"; GLUE wants {', '.join(missing)} too" if missing else ""))
    return result | {"archive": str(archive), "missing": missing}


def _predict_raw_text(settings: PredictSettings) -> dict:
    model, tokenizer = open_model(settings)
    if model.head not in ("classification", "regression", "token_classification"):
        raise InputError(f"{settings.model_dir}: has the head {model.head!r}, which says nothing about a text")
    if settings.text is not None:
        split = Split("text", "--text", lambda: iter([Example(0, settings.text, settings.text_pair, None)]))
    else:
        path = Path(settings.input_file)
        split = Split(path.name, str(path), lambda: _read_texts(path))
    label2id = model.config.label2id or {}
    pair = next(iter(split)).text_pair and "text_pair"
    if model.head == "token_classification":
        words = split
        split = Split(split.name, split.source, lambda: (_single_spaces(row) for row in words))
    task = Task("text", model.head, "", tuple(sorted(label2id, key=label2id.get)), "text", pair, "", ())
    seq_len = checked_seq_len(model, settings.seq_len or min(RAW_TEXT_LENGTH, model.config.max_position_embeddings))
    options = {"batch_size": settings.batch_size if settings.text is None else 1, "seq_len": seq_len, "ids": label2id}
    logits, _ = predict_logits(model, split, tokenizer, task, **options)
    if settings.output_dir:
        return _write_rows(Path(settings.output_dir), task, split, logits)
    answers = list(_answers(task, split, logits))
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
    return answers[0] if settings.text is not None else {"rows": len(answers)}


def _read_texts(path: Path) -> Iterator[Example]:
    """One text a line, or two with a tab between them."""
    columns, number = None, 0
    for number, line in numbered_lines(path):
        fields = without_end(line).split("\t")
        columns = columns or len(fields)
        if len(fields) != columns or columns > 2:
            raise InputError(
                f"{path}, line {number}: {len(fields) - 1} tabs; a line is one text, or two with one tab between them, and "
                "all lines are alike"
            )
        yield Example(number - 1, fields[0], fields[1] if columns == 2 else None, None)
    if not number:
        raise InputError(f"{path}: the file is empty")


def _single_spaces(row: Example) -> Example:
    if row.text_pair is not None:
        raise InputError("a model that tags words reads single texts, not pairs")
    return row._replace(text=" ".join(row.text.split()))


def _write_rows(directory: Path, task: Task, split: Split, logits: Logits) -> dict:
    """Writes `predictions.jsonl`, a row each."""
    path = directory / "predictions.jsonl"
    lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in _answers(task, split, logits)]
    if is_chief():
        with written_aside(path) as aside:
            aside.write_text("".join(lines), encoding="utf-8", newline="\n")
        print(f"wrote {path}: {len(lines)} rows", flush=True)
    return {"task": task.name, "rows": {path.name: len(lines)}}


def _answers(task: Task, split: Split, logits: Logits) -> Iterator[dict]:
    """What is said about each row of a split."""
    for row, values in zip(split, logits, strict=True):
        answer = {"index": row.index, "text": row.text}
        if row.text_pair is not None:
            answer["text_pair"] = row.text_pair
        if task.kind == "token_classification":
            yield answer | {"prediction": [task.labels[index] for index in values.argmax(axis=-1)]}
        elif task.kind == "regression":
            yield answer | {"prediction": float(values[0])}
        else:
            probabilities = scipy.special.softmax(values.astype(np.float64)).tolist()
            answer |= {"prediction": task.labels[int(values.argmax())]}
            yield answer | {"probabilities": dict(zip(task.labels, probabilities, strict=True))}
