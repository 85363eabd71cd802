"""SQuAD's questions as rows of Algorithm 1: the question is one side, the context the other, and answers are kept."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tinybert_tf.augmentation.algorithm import Augmenter, row_hash
from tinybert_tf.augmentation.layout import Row
from tinybert_tf.augmentation.words import Sentence
from tinybert_tf.data.split import Example, MissingSplit, TaskData
from tinybert_tf.data.squad import Answer, SquadExample, squad_file_name, squad_paragraph, write_squad


class QuestionAugmenter(Augmenter):
    """Augments a question or its context, but no word that is part of an answer.

    Rows are `Example`s of the question, the context and, as the label, the answers, whose offsets are those in the copy.
    """

    def _draw(self, row: Example, sides: tuple[int, ...], side: int, sentence: Sentence):
        draw = super()._draw(row, sides, side, sentence)
        if side == 1:
            spans = _spans(row.label, row.text_pair)
            for number, word in enumerate(sentence.words):
                draw.replaced[:, number] &= all(word.end <= begin or end <= word.begin for begin, end in spans)
        return draw

    def _copy(
        self, row: Example, sentences: Mapping[str, Sentence], replacements: dict[int, dict[int, str]]
    ) -> Example:
        words = sentences[row.text_pair].words
        longer = [(words[n].end, len(new) - len(words[n].surface)) for n, new in replacements.get(1, {}).items()]
        moved = [
            answer._replace(start=answer.start + sum(more for end, more in longer if end <= begin))
            for answer, (begin, _) in zip(row.label, _spans(row.label, row.text_pair), strict=True)
        ]
        return super()._copy(row, sentences, replacements)._replace(label=tuple(moved))


def _spans(answers: Iterable[Answer], context: str) -> list[tuple[int, int]]:
    """The bytes [begin, end) of each answer."""
    begins = [len(context[: answer.start].encode("utf-8")) for answer in answers]
    return [(begin, begin + len(a.text.encode("utf-8"))) for begin, a in zip(begins, answers, strict=True)]


class QuestionLayout:
    """SQuAD's files; see `Layout`. A line holds a paragraph with one question.

    Args:
        data: the task's data.
    """

    def __init__(self, data: TaskData):
        self.data, self.task = data, data.task
        self.folder, self.train_name = self.task.folder, squad_file_name(self.task, "train")

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        for index, question in enumerate(self.data.train.limit(limit)):
            yield Row(Example(index, question.question, question.context, question.answers or ()), question)

    def line(self, question: SquadExample, copy: Example | None = None) -> bytes:
        """The id of an augmented question is the original's with a number appended."""
        if copy is not None:
            identity = f"{question.id}-{row_hash(copy.text, copy.text_pair):016x}"
            question = SquadExample(identity, copy.text, copy.text_pair, copy.label)
        paragraph = squad_paragraph(question.context, [question], self.task)
        return (json.dumps(paragraph, ensure_ascii=False) + "\n").encode("utf-8")

    def write_train(self, folder: Path, lines: Iterable[bytes]) -> None:
        """One article, written line by line, so that it need not fit into memory."""
        with (folder / self.train_name).open("wb") as file:
            before = b'{"data": [{"title": "", "paragraphs": [\n'
            for line in lines:
                file.write(before + line.rstrip(b"\n"))
                before = b",\n"
            file.write(b"\n]}]}\n")

    @property
    def other_files(self) -> list[Path]:
        """The dev file, if there is one."""
        try:
            return [path for path in (Path(self.data.dev.source),) if path.is_file()]
        except MissingSplit:
            return []

    def write_other_splits(self, folder: Path) -> None:
        name = squad_file_name(self.task, "dev")
        for path in self.other_files:
            shutil.copyfile(path, folder / name)
        if not self.other_files:  # of TensorFlow Datasets
            with contextlib.suppress(MissingSplit):
                write_squad(folder / name, self.data.dev, self.task)
