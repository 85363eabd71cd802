"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): questions, the paragraphs that answer them, and where."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tinybert_tf.data.custom import report_skipped
from tinybert_tf.data.lines import whole_characters
from tinybert_tf.data.split import Example, MissingSplit, Split
from tinybert_tf.data.tasks import Task
from tinybert_tf.errors import InputError
from tinybert_tf.files import read_json, write_json

_VERSIONS = {"squad1": "1.1", "squad2": "2.0"}


class _WrongOffset(InputError):
    """An answer that is not at its `answer_start`."""


class Answer(NamedTuple):
    """A passage of the context; `start` counts characters."""

    text: str
    start: int


class SquadExample(NamedTuple):
    """One question. `answers` is empty if the context does not answer it (SQuAD 2.0), None if the answers are unknown."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None


def texts_of(example: Example | SquadExample) -> str | tuple[str, str]:
    """The text of an example or its pair of texts; a question and its context."""
    if isinstance(example, SquadExample):
        return example.question, example.context
    return example.text if example.text_pair is None else (example.text, example.text_pair)


def allows_no_answer(task: Task) -> bool:
    """Whether questions may have no answer: SQuAD 2.0."""
    return task.name == "squad2"


def squad_split(task: Task, data_dir: str | Path | None, split: str, skip_bad_rows: bool = False) -> Split:
    """The questions of one part of SQuAD, sorted by their ids: files and TensorFlow Datasets give the same order.

    Args:
        task: squad1 or squad2.
        data_dir: a folder with the official files (`train-v1.1.json`, ...), or the folder above it; None reads TensorFlow
            Datasets.
        split: "train" or "dev".
        skip_bad_rows: see `read_squad`.

    Raises:
        InputError: no such file, or several candidates.
    """
    if data_dir is None:
        from tinybert_tf.data.tfds import prepare

        return Split(split, task.tfds, lambda: iter(_sorted(_from_tfds(prepare(task, split)[1]))))
    path = find_squad_file(task, Path(data_dir), split)
    return Split(split, str(path), lambda: iter(read_squad(path, task, skip_bad_rows, needs_answers=split == "train")))


def find_squad_file(task: Task, data_dir: Path, split: str) -> Path:
    """`train-v1.1.json`, `train.json`, or the one file whose name has the split and the version in it."""
    if not data_dir.is_dir():
        raise InputError("no such folder", "data_dir", data_dir)
    inside = (child for child in sorted(data_dir.iterdir()) if child.is_dir() and child.name.lower() == "squad")
    folder = next(inside, data_dir)
    version = _VERSIONS[task.name]
    for name in (squad_file_name(task, split), f"{split}.json"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob(f"*{split}*v{version}*.json"))
    if len(found) > 1:
        raise InputError(
            f"{folder}: {', '.join(path.name for path in found)} are candidates for the {split} set; keep one"
        )
    if not found:
        raise MissingSplit(
            f"{folder}: no {split} set of SQuAD {version}; put {split}-v{version}.json into it "
            f"(it holds {', '.join(sorted(path.name for path in folder.glob('*.json'))) or 'no .json file'})"
        )
    return found[0]


def read_squad(
    path: str | Path, task: Task, skip_bad_rows: bool = False, needs_answers: bool = False
) -> list[SquadExample]:
    """The questions of an official JSON file, sorted by their ids.

    Args:
        path: the file.
        task: squad1 or squad2.
        skip_bad_rows: leave out questions whose answer is not at its `answer_start`, and log how many.
        needs_answers: refuse questions without "answers", of which nothing is known; for a training set.

    Raises:
        InputError: with file, article, paragraph and question: no JSON, a missing field, an answer that is not at its
            `answer_start` (with the number of them), a duplicate id, or (SQuAD 1.1) a question without an answer.
    """
    bad: list[InputError] = []
    examples = _sorted(_questions(str(path), read_json(path), allows_no_answer(task), bad, needs_answers))
    if bad and not skip_bad_rows:
        count = f"; this and {len(bad) - 1} more can be left out with `skip_bad_rows`" if len(bad) > 1 else ""
        raise InputError(f"{bad[0]}{count or '; it can be left out with `skip_bad_rows`'}")
    report_skipped(path, len(examples), bad, "questions")
    for one, next_one in itertools.pairwise(examples):
        if one.id == next_one.id:
            raise InputError(
                f"{path}: two questions have the id {one.id!r}; predictions are stored by id, so make them differ"
            )
    return examples


def write_squad(path: str | Path, examples: Iterable[SquadExample], task: Task) -> None:
    """Writes questions as a file that `read_squad` reads: one article, a paragraph for each context."""
    by_context: dict[str, list[SquadExample]] = {}
    for example in examples:
        by_context.setdefault(example.context, []).append(example)
    paragraphs = [squad_paragraph(context, found, task) for context, found in by_context.items()]
    write_json(path, {"version": _VERSIONS[task.name], "data": [{"title": "", "paragraphs": paragraphs}]})


def squad_paragraph(context: str, examples: Iterable[SquadExample], task: Task) -> dict[str, Any]:
    """A paragraph of the official files: a context and its questions."""
    questions = []
    for example in examples:
        question: dict[str, Any] = {"id": example.id, "question": example.question}
        if example.answers is not None:
            question["answers"] = [{"text": text, "answer_start": start} for text, start in example.answers]
            if allows_no_answer(task):
                question["is_impossible"] = not example.answers
        questions.append(question)
    return {"context": context, "qas": questions}


def squad_file_name(task: Task, split: str) -> str:
    """The official name: train-v1.1.json, ..."""
    return f"{split}-v{_VERSIONS[task.name]}.json"


def _sorted(examples: Iterable[SquadExample]) -> list[SquadExample]:
    return sorted(examples, key=lambda example: example.id)


def _questions(
    path: str, document: Any, may_lack_answer: bool, bad: list[InputError], needs_answers: bool
) -> Iterator[SquadExample]:
    """The questions of a file; the errors of answers that are not at their `answer_start` are added to `bad`."""
    for a, article in enumerate(_field(document, "data", list, path), 1):
        at_article = f"{path}, article {a}"
        for p, paragraph in enumerate(_field(article, "paragraphs", list, at_article), 1):
            at_paragraph = f"{at_article}, paragraph {p}"
            context = _field(paragraph, "context", str, at_paragraph)
            if not context.strip():
                raise InputError(f"{at_paragraph}: the context is empty")
            for q, entry in enumerate(_field(paragraph, "qas", list, at_paragraph), 1):
                try:
                    example = _question(entry, context, f"{at_paragraph}, question {q}")
                except _WrongOffset as error:
                    bad.append(error)
                    continue
                if example.answers is None and needs_answers:
                    raise InputError(
                        f'{at_paragraph}, question {q} (id {example.id}): needs a list "answers" to learn from'
                    )
                if example.answers == () and not may_lack_answer:
                    raise InputError(
                        f"{at_paragraph}, question {q} (id {example.id}): has no answer; that is SQuAD 2.0: use `task=squad2`"
                    )
                yield example


def _question(entry: Any, context: str, where: str) -> SquadExample:
    identity, question = _field(entry, "id", str, where), _field(entry, "question", str, where)
    where = f"{where} (id {identity})"
    if entry.get("is_impossible"):
        return SquadExample(identity, question, context, ())
    if "answers" not in entry:
        return SquadExample(identity, question, context, None)
    answers = []
    for given in _field(entry, "answers", list, where):
        answer = Answer(_field(given, "text", str, where), _field(given, "answer_start", int, where))
        found = context[answer.start : answer.start + len(answer.text)] if answer.start >= 0 else ""
        if not answer.text.strip() or found != answer.text:
            raise _WrongOffset(
                f"{where}: the answer {answer.text!r} is not at answer_start {answer.start} of the context, {found!r} is; "
                "answer_start counts characters from 0"
            )
        answers.append(answer)
    return SquadExample(identity, question, context, tuple(answers))


def _field(value: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        names = {list: "list", str: "text", int: "number"}
        raise InputError(f'{where}: needs a {names[kind]} "{name}", as in the official SQuAD files')
    return whole_characters(value[name], f'{where}: "{name}"') if kind is str else value[name]


def _from_tfds(dataset) -> Iterator[SquadExample]:
    contexts: dict[str, str] = {}  # a paragraph's questions share one string
    for row in dataset.as_numpy_iterator():
        context = row["context"].decode("utf-8")
        found = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        answers = tuple(Answer(text.decode("utf-8"), int(start)) for text, start in found)
        yield SquadExample(
            row["id"].decode("utf-8"),
            row["question"].decode("utf-8"),
            contexts.setdefault(context, context),
            () if row.get("is_impossible") else answers,
        )
