"""Texts without labels, for a teacher's logits: what students of docs/large_teacher.md learn besides the rows of their task.

python benchmarks/more_texts.py --task=cola --data_dir=GLUE --corpus=wiki.txt --output_dir=more

writes more/CoLA/train.tsv, the task's own rows first (or those of `--rows`, such as `bin/augment.py` makes), for
`bin/distill_task.py --augmented_data_dir=more --stage=prediction`, which reads the teacher's logits and no labels: the label of
a new row is the task's first one and means nothing. Of STS-B that stage reads new rows only with `--teacher_logits=FILE`; with
`--teacher` it learns from the task's own rows, as in the paper.

CoLA gets sentences of the other tasks and of a corpus, sentences with one or two words out of order, and two of CoLA's
sentences spliced at a word that both have. MNLI and RTE get premises with the hypotheses of other rows about the same things,
hypotheses with a negation, number or opposite exchanged, clauses of premises, and the pairs of other tasks. MRPC, QQP and STS-B
get the pairs of other tasks, and their sentences with those of other rows about the same things, or with a word changed. QNLI
gets its test set, and questions of `--squad` with sentences of their paragraphs. With `--pairs` a task gets the pairs of a file
instead, such as SNLI's for MNLI. No new row is one of the dev set (for MNLI and RTE: of either), and none is written twice.
"""

import bisect
import collections
import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import measuring  # noqa: F401  # finds the package beside this folder
from absl import app, flags

from tinybert_tf.augmentation.layout import Layout
from tinybert_tf.data import Example, load_task
from tinybert_tf.data.lines import numbered_lines
from tinybert_tf.data.squad import SquadExample
from tinybert_tf.data.tables import read_records
from tinybert_tf.errors import InputError
from tinybert_tf.files import atomic_write

FLAGS = flags.FLAGS
flags.DEFINE_enum("task", None, ["cola", "mnli", "rte", "mrpc", "qqp", "stsb", "qnli"], "task", required=True)
flags.DEFINE_string("data_dir", None, "folder of GLUE files; tasks that it lacks are left out", required=True)
flags.DEFINE_string("rows", None, "folder with the rows to begin with instead of the task's own")
flags.DEFINE_string("corpus", None, "plain text, cut into sentences for CoLA")
flags.DEFINE_string(
    "pairs", None, ".jsonl, .csv or .tsv with columns sentence1 and sentence2: added instead of pairs made here"
)
flags.DEFINE_string("squad", None, "folder of SQuAD 1.1's train-v1.1.json, whose questions and sentences QNLI gets")
flags.DEFINE_integer("most", 50_000, "number of --pairs to take at most, drawn at random", lower_bound=1)
flags.DEFINE_string("output_dir", None, "folder for TASK/train.tsv", required=True)
flags.DEFINE_integer("seed", 0, "of all choices")

Pair = tuple[str, str | None]
# Function words, which carry a sentence's grammar.
_FUNCTION = (
    "the a an of to in on for with by from at that which who whom what is are was were be been being has have had do does did "
    "will would can could not it he she they his her their himself herself themselves any some every no each all one"
).split()
_AUXILIARY = set("is are was were can will would should could has had does did may must am".split())
_OPPOSITES = dict(
    pair.split(":")
    for pair in (
        "some:all all:no no:some every:no many:few few:many most:few always:never never:always often:rarely more:less less:more "
        "before:after after:before good:bad bad:good everyone:nobody nobody:everyone everything:nothing nothing:everything "
        "first:last last:first old:new new:old big:small small:big large:small high:low low:high increased:decreased "
        "decreased:increased better:worse worse:better with:without without:with in:outside he:she she:he easy:difficult "
        "difficult:easy like:dislike love:hate possible:impossible both:neither above:below under:over for:against men:women "
        "women:men man:woman woman:man north:south south:north east:west west:east can:cannot different:same same:different"
    ).split()
)
_NUMBERS = "one two three four five six seven eight nine ten twelve twenty hundred thousand million".split()
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_CLAUSE_END = re.compile(
    r"(?<=[.?!;])\s+|,\s+(?=(?:and|but|which|who|because|although|while|so)\b)|\s+(?=because |although |while |but )"
)
# What a reader of lines may take for the end of a row or a field.
_UNWANTED = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_RARE = 60  # rows at most in which a word tells what a pair is about


class Rows:
    """New rows of a task, each once and none of the dev set's."""

    def __init__(self, known: Iterable[Pair]):
        self._seen = {_key(pair) for pair in known}
        self.new: list[Pair] = []

    def take(self, name: str, rows: Iterable[Pair], most: int, words: tuple[int, int] = (1, 100)) -> list[Pair]:
        """The first `most` of some rows that are new and whose texts have a number of words between two limits."""
        taken: list[Pair] = []
        for row in itertools.islice(filter(lambda row: self._is_new(row, words), rows), most):
            self._seen.add(_key(row))
            taken.append(row)
        print(f"{name}: {len(taken)}")
        self.new += taken
        return taken

    def _is_new(self, row: Pair, words: tuple[int, int]) -> bool:
        texts = [text for text in row if text is not None]
        fits = all(words[0] <= len(text.split()) <= words[1] and not _UNWANTED.search(text) for text in texts)
        return fits and row[0] != row[1] and _key(row) not in self._seen


def disordered(text: str, rng: random.Random) -> str | None:
    """A sentence with one word left out, doubled, moved or exchanged for another function word, or two neighbors swapped."""
    words = text.split()
    place, changed = rng.randrange(len(words)), list(words)
    change = rng.choice(("leave out", "double", "move", "swap", "exchange"))
    if change == "leave out":
        del changed[place]
    elif change == "double":
        changed.insert(place, words[place])
    elif change == "move":
        changed.insert(rng.randrange(len(words)), changed.pop(place))
    elif change == "swap":
        changed[place : place + 2] = changed[place : place + 2][::-1]
    elif words[place].lower() in _FUNCTION:
        changed[place] = rng.choice(_FUNCTION)
    return " ".join(changed) if changed != words else None


def spliced(sentences: Sequence[str], rng: random.Random) -> Iterator[str]:
    """The beginning of one sentence and the end of another, joined at a word inside both."""
    words = [sentence.split() for sentence in sentences]
    places = collections.defaultdict(list)  # word -> (sentence, place)
    for number, own in enumerate(words):
        for place in range(1, len(own) - 1):
            places[own[place].lower()].append((number, place))
    for number in rng.sample(range(len(words)), len(words)):
        own = words[number]
        joints = [(place, places[own[place].lower()]) for place in range(1, len(own) - 1)]
        joints = [(place, others) for place, others in joints if any(other != number for other, _ in others)]
        if joints:
            place, others = rng.choice(joints)
            other, behind = rng.choice([found for found in others if found[0] != number])
            yield " ".join(own[:place] + words[other][behind:])


def opposed(text: str, rng: random.Random) -> str | None:
    """A text with a negation put in or left out, a number changed, or a word exchanged for its opposite."""
    words = text.split()
    changes: list[tuple[int, list[str]]] = []  # place, and what stands there instead
    for place, given in enumerate(words):
        word, bare = given.lower().strip(".,;:?!"), given.rstrip(".,;:?!")
        end = given[len(bare) :]
        if word == "not":
            changes.append((place, []))
        elif word in _AUXILIARY and place > 0 and words[place + 1 : place + 2] != ["not"]:
            changes.append((place, [given, "not"]))
        if word in _OPPOSITES:
            changes.append((place, [_OPPOSITES[word] + end]))
        if word in _NUMBERS or re.fullmatch(r"\d{1,4}", word):
            number = str(int(word) + rng.choice((1, 2, 10))) if word.isdigit() else rng.choice(_NUMBERS)
            changes.append((place, [number + end]))
    if not changes:
        return None
    place, new = rng.choice(changes)
    changed = " ".join([*words[:place], *new, *words[place + 1 :]])
    return changed[0].upper() + changed[1:] if changed and changed != " ".join(words) else None


def clauses(text: str) -> list[str]:
    """The clauses of a text of several, 4 to 25 words each, with a capital at the beginning."""
    parts = [part.strip(" ,;") for part in _CLAUSE_END.split(text)]
    return [part[0].upper() + part[1:] for part in parts if 4 <= len(part.split()) <= 25 and part != text.strip(" ,;")]


def crossed(pairs: Sequence[tuple[str, str]], rng: random.Random, each: int = 2) -> Iterator[tuple[str, str]]:
    """First texts with the second texts of other rows that share rare words with them, up to `each` a row."""
    words = [set(re.findall(r"[a-z']+", second.lower())) for _, second in pairs]
    counts = collections.Counter(itertools.chain.from_iterable(words))
    rows_of = collections.defaultdict(list)
    for row, found in enumerate(words):
        for word in found:
            if counts[word] <= _RARE:
                rows_of[word].append(row)
    for first, _ in rng.sample(pairs, len(pairs)):
        scores: collections.Counter = collections.Counter()
        for word in sorted(set(re.findall(r"[a-z']+", first.lower()))):
            for row in rows_of.get(word, ()):
                if pairs[row][0] != first:
                    scores[row] += math.log(len(pairs) / counts[word]) / math.sqrt(len(words[row]) + 2)
        for row, _ in scores.most_common(each):
            yield first, pairs[row][1]


def with_sentences(example: SquadExample) -> Iterator[Pair]:
    """A question with the sentence that answers it, and with another of its paragraph, the nearest in words."""
    words = lambda text: set(re.findall(r"[a-z0-9']+", text.lower()))
    ends = [match.start() for match in _SENTENCE_END.finditer(example.context)] + [len(example.context)]
    sentences = _SENTENCE_END.split(example.context)
    answering = bisect.bisect_left(ends, example.answers[0].start + 1)
    others = sentences[:answering] + sentences[answering + 1 :]
    yield example.question, sentences[answering]
    if others:
        yield example.question, max(others, key=lambda text: len(words(text) & words(example.question)))


def for_cola(rows: Rows, own: Sequence[Pair], rng: random.Random) -> None:
    sentences = [text for text, _ in own]
    others = [text for pair in _other_tasks(("mnli", "qnli", "stsb", "qqp", "sst2")) for text in pair if text]
    test = [text for text, _ in _split("cola", "test")]
    rows.take("of CoLA's test set", ((text, None) for text in test), 10**6)
    corpus = [" ".join(text.split()) for text in _corpus_sentences()]
    natural = rng.sample(others, len(others)) + rng.sample(corpus, len(corpus))
    rng.shuffle(natural)
    taken = rows.take("of other tasks and the corpus", ((text, None) for text in natural), 54_000, (3, 18))
    several = lambda text: disordered(disordered(text, rng) or text, rng)
    changed = ((disordered(text, rng) if rng.random() < 0.7 else several(text)) for text in sentences * 8)
    rows.take("CoLA's, out of order", ((text, None) for text in changed if text), 40_000, (3, 18))
    changed = (disordered(text, rng) for text, _ in reversed(taken))
    rows.take("others, out of order", ((text, None) for text in changed if text), 21_000, (3, 18))
    joined = itertools.chain(spliced(sentences, rng), spliced(sentences, rng))
    rows.take("CoLA's, spliced", ((text, None) for text in joined), 12_000, (3, 18))


def for_entailment(rows: Rows, own: Sequence[Pair], rng: random.Random) -> None:
    test = _split("rte", "test")
    both = [*own, *test] if FLAGS.task == "rte" else [*own, *_split("rte", "train"), *test]
    if FLAGS.task == "rte":
        rows.take("of RTE's test set", test, len(test))
    rows.take("of other tasks", _other_tasks(("rte", "stsb", "mrpc", "qqp"), ("train", "test"), 3_000), 17_000)
    rows.take("hypotheses of other rows", crossed(both, rng, 3), 16_000)
    shuffled = rng.sample(both, len(both))
    changed = ((first, opposed(second, rng)) for first, second in shuffled * 2)
    rows.take("hypotheses with an opposite", ((first, text) for first, text in changed if text), 12_000)
    parts = ((first, rng.choice(found)) for first, _ in shuffled if (found := clauses(first)))
    changed = ((first, text if rng.random() < 0.5 else opposed(text, rng)) for first, text in parts)
    rows.take("clauses of premises", ((first, text) for first, text in changed if text), 10_000)


def for_paraphrases(rows: Rows, own: Sequence[Pair], rng: random.Random) -> None:
    test = _split(FLAGS.task, "test")
    rows.take("of its test set", test, len(test))
    rows.take("of other tasks", _other_tasks(("mrpc", "qqp", "stsb", "mnli"), ("train",), 2_500), 7_500)
    both = [*own, *test]
    rows.take("sentences of other rows", crossed(both, rng, 1), 5_000)
    changed = ((first, opposed(first, rng) or disordered(first, rng)) for first, _ in rng.sample(both, len(both)))
    rows.take("sentences with a change", ((first, text) for first, text in changed if text), 1_500)


def for_questions(rows: Rows, own: Sequence[Pair], rng: random.Random) -> None:
    del own
    test = _split("qnli", "test")
    rows.take("of its test set", test, len(test))
    if FLAGS.squad:
        found = [pair for example in load_task("squad1", FLAGS.squad).train for pair in with_sentences(example)]
        rows.take("of SQuAD", rng.sample(found, len(found)), 10_000)


def from_file(rows: Rows, own: Sequence[Pair], rng: random.Random) -> None:
    del own
    pairs = [_pair(record, line) for line, record in read_records(Path(FLAGS.pairs))]
    rows.take(f"of {FLAGS.pairs}", rng.sample(pairs, len(pairs)), FLAGS.most)


def _pair(record: dict[str, object], line: int) -> Pair:
    texts = record.get("sentence1"), record.get("sentence2")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{FLAGS.pairs}, line {line}: sentence1 and sentence2 must be two texts; they are {texts}")
    return texts


WRITERS = {
    "cola": for_cola,
    "mnli": for_entailment,
    "rte": for_entailment,
    "mrpc": for_paraphrases,
    "qqp": for_paraphrases,
    "stsb": for_paraphrases,
    "qnli": for_questions,
}


def _key(pair: Pair) -> tuple[str, ...]:
    """What two rows that say the same have in common; the sides of a paraphrase may be exchanged."""
    texts = [(text or "").lower() for text in pair]
    return tuple(sorted(texts) if FLAGS.task in ("mrpc", "qqp", "stsb") else texts)


def _pairs(split: Iterable[Example]) -> Iterator[Pair]:
    return ((row.text, row.text_pair) for row in split)


def _split(task: str, split: str) -> list[Pair]:
    """The texts of a task's train, dev or test set; none where the folder lacks it."""
    try:
        return list(_pairs(getattr(load_task(task, FLAGS.data_dir), split)))
    except InputError as error:
        print(f"without {task}'s {split} set: {error}")
        return []


def _other_tasks(tasks: Sequence[str], splits: Sequence[str] = ("train",), most: int = 12_000) -> Iterator[Pair]:
    for task in tasks:
        if task != FLAGS.task:
            for split in splits:
                yield from _split(task, split)[:most]


def _corpus_sentences() -> list[str]:
    if FLAGS.corpus is None:
        return []
    return _SENTENCE_END.split("".join(line for _, line in numbered_lines(FLAGS.corpus)))


def main(argv: list[str]) -> None:
    del argv
    for name, task in (("corpus", "cola"), ("squad", "qnli")):
        if FLAGS[name].value is not None and FLAGS.task != task:
            raise app.UsageError(f"--{name} is read for {task} alone, not for --task={FLAGS.task}")
    if FLAGS.pairs is not None and (FLAGS.task == "cola" or FLAGS.squad is not None):
        raise app.UsageError("--pairs is read for tasks of pairs, and instead of --squad")
    if FLAGS["most"].present and FLAGS.pairs is None:
        raise app.UsageError("--most limits --pairs, which is not given")
    for name in ("corpus", "pairs"):
        if FLAGS[name].value is not None and not Path(FLAGS[name].value).is_file():
            raise app.UsageError(f"--{name}={FLAGS[name].value}: no such file")
    try:
        write_texts()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


def write_texts() -> None:
    """Writes TASK/train.tsv as the flags ask for it."""
    data = load_task(FLAGS.task, FLAGS.data_dir)
    begun = load_task(FLAGS.task, FLAGS.rows) if FLAGS.rows else data
    layout = Layout.of(begun, FLAGS.rows or FLAGS.data_dir)
    kept = list(layout.rows())
    held_out = ("mnli", "rte") if FLAGS.task in ("mnli", "rte") else (FLAGS.task,)
    known = itertools.chain(_pairs(row.example for row in kept), *(_split(task, "dev") for task in held_out))
    rows = Rows(known)
    write = from_file if FLAGS.pairs else WRITERS[FLAGS.task]
    write(rows, list(_pairs(data.train)), random.Random(FLAGS.seed))
    label = (data.task.labels or ("0",))[0]
    lines = [layout.line(row.fields) for row in kept]
    for text, text_pair in rows.new:
        example = Example(index=0, text=text, text_pair=text_pair, label=label)
        lines.append(layout.line(layout.fields(example)))
    folder = Path(FLAGS.output_dir) / data.task.folder
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "train.tsv") as aside:
        aside.write_bytes(layout.header_line() + b"".join(lines))
    print(f"{folder / 'train.tsv'}: {len(kept)} rows and {len(rows.new)} new ones")


if __name__ == "__main__":
    app.run(main)
