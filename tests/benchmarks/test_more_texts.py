"""benchmarks/more_texts.py: what is written is read back, new, and made as its rules say."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tinybert_tf.data import load_task

REPOSITORY = Path(__file__).resolve().parents[2]
MNLI = ["index"] + ["x"] * 7 + ["sentence1", "sentence2", "label1", "gold_label"]
SENTENCES = [
    "the old man saw a red boat",
    "a child saw the green tree",
    "they sold a boat yesterday",
    "trees grow slowly",
]


def write_rows(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def run(folder: Path, *arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "more_texts.py"), "--data_dir=glue", *arguments]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [*command, "--output_dir=more"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def more_texts(folder: Path, *arguments: str, hash_seed: str = "0") -> str:
    done = run(folder, *arguments, hash_seed=hash_seed)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def cola(tmp_path) -> Path:
    rows = [["x", "1", "", text] for text in SENTENCES]
    write_rows(tmp_path / "glue" / "CoLA" / "train.tsv", rows)
    write_rows(tmp_path / "glue" / "CoLA" / "dev.tsv", [["x", "1", "", "Boats are built of wood."]])
    (tmp_path / "wiki.txt").write_text("Boats are built of wood. Some are of steel. A third one floats.\n")
    return tmp_path


def test_sentences(cola):
    said = more_texts(cola, "--task=cola", "--corpus=wiki.txt")
    assert "without mnli's train set" in said
    made = [row.text for row in load_task("cola", str(cola / "more")).train]
    assert made[: len(SENTENCES)] == SENTENCES
    new = made[len(SENTENCES) :]
    assert {"Some are of steel.", "A third one floats."} <= set(new) and "Boats are built of wood." not in new
    assert len(set(made)) == len(made) > 12
    # One or two changes of a word each, or the beginning of one sentence and the end of another.
    known = [Counter(text.lower().split()) for text in (*SENTENCES, "some are of steel.", "a third one floats.")]
    far = []
    for text in new:
        words = Counter(text.lower().split())
        if min(sum(((words - other) + (other - words)).values()) for other in known) > 4:
            far.append(text)
    words = [text.split() for text in SENTENCES]
    joined = {
        " ".join(a[:i] + b[j:])
        for a in words
        for b in words
        for i in range(1, len(a) - 1)
        for j in range(1, len(b) - 1)
        if a[i] == b[j]
    }
    assert set(far) <= joined and joined & set(new) - set(SENTENCES)
    written = (cola / "more" / "CoLA" / "train.tsv").read_bytes()
    more_texts(cola, "--task=cola", "--corpus=wiki.txt", hash_seed="1")
    assert (cola / "more" / "CoLA" / "train.tsv").read_bytes() == written


def test_pairs(tmp_path):
    stories = [
        f"{name} walked to the shore because there was no road." for name in ("Ann", "Ben", "Cy", "Dora", "Eli", "Fay")
    ]
    parts = lambda story: (story[: story.index(" because")], "Because there was no road.")
    pairs = [
        ("The boat sank because the captain slept at the wheel.", "The boat is old."),
        ("Nobody knew where the captain of the other boat had gone.", "He had three boats."),
        ("It rained.", "Not one captain slept."),
    ]
    pairs += [(story, "Something happened.") for story in stories]
    rows = [MNLI] + [[str(n), *"xxxxxxx", *pair, "neutral", "neutral"] for n, pair in enumerate(pairs)]
    write_rows(tmp_path / "glue" / "MNLI" / "train.tsv", rows)
    held_out = (pairs[0][0], pairs[2][1])  # which crossing gives otherwise
    dev = [str(9), *"xxxxxxx", *held_out, "neutral", "neutral"]
    write_rows(tmp_path / "glue" / "MNLI" / "dev_matched.tsv", [MNLI, dev])
    more_texts(tmp_path, "--task=mnli")
    made = [(row.text, row.text_pair) for row in load_task("mnli", str(tmp_path / "more")).train]
    assert made[: len(pairs)] == pairs and len(set(made)) == len(made)
    new = set(made[len(pairs) :])
    assert held_out not in new and (pairs[1][0], pairs[2][1]) in new
    opposites = {second for _, second in new} & {"The boat is not old.", "The boat is new.", "One captain slept."}
    assert opposites
    assert {second for first, second in new if first in stories} & {part for story in stories for part in parts(story)}


def test_pairs_with_scores(tmp_path):
    header = ["index", *"genre filename year old_index source1 source2".split(), "sentence1", "sentence2", "score"]
    rows = [[str(n), *"xxxxxx", *pair, "2.5"] for n, pair in enumerate([SENTENCES[:2], SENTENCES[2:]])]
    write_rows(tmp_path / "glue" / "STS-B" / "train.tsv", [header, *rows])
    held_out = [SENTENCES[2], SENTENCES[0]]  # which sentences of other rows give, the other way around
    write_rows(tmp_path / "glue" / "STS-B" / "dev.tsv", [header, ["2", *"xxxxxx", *held_out, "0"]])
    more_texts(tmp_path, "--task=stsb")
    made = [(row.text, row.text_pair) for row in load_task("stsb", str(tmp_path / "more")).train]
    assert made[:2] == [tuple(SENTENCES[:2]), tuple(SENTENCES[2:])]
    assert len({frozenset(pair) for pair in made}) == len(made)
    new = made[2:]
    assert frozenset(held_out) not in map(frozenset, new)
    changed = [pair for pair in new if not set(pair) <= set(SENTENCES)]
    assert changed and all(first in SENTENCES for first, _ in changed)


@pytest.fixture
def qnli(tmp_path) -> Path:
    header = ["index", "question", "sentence", "label"]
    write_rows(
        tmp_path / "glue" / "QNLI" / "train.tsv", [header, ["0", "Who sold it?", "Ann sold a boat.", "entailment"]]
    )
    write_rows(tmp_path / "glue" / "QNLI" / "dev.tsv", [header, ["0", "Who saw it?", "It was seen.", "not_entailment"]])
    return tmp_path


def test_questions_of_squad(qnli):
    context = "It rained. Ann saw the boat of Dr. Lee at 9.5 knots. Ben sold the boat. Who knows?"
    asked = {"Who saw the boat?": "Ann", "Who saw it?": "It", "Who sold the boat?": "Ben"}
    questions = [
        {"id": str(number), "question": text, "answers": [{"text": answer, "answer_start": context.index(answer)}]}
        for number, (text, answer) in enumerate(asked.items())
    ]
    squad = {"version": "1.1", "data": [{"title": "", "paragraphs": [{"context": context, "qas": questions}]}]}
    (qnli / "train-v1.1.json").write_text(json.dumps(squad))
    more_texts(qnli, "--task=qnli", "--squad=.")
    made = [(row.text, row.text_pair) for row in load_task("qnli", str(qnli / "more")).train]
    assert made[0] == ("Who sold it?", "Ann sold a boat.")
    assert sorted(made[1:]) == [
        ("Who saw it?", "Ann saw the boat of Dr."),
        ("Who saw it?", "It rained."),
        ("Who saw the boat?", "Ann saw the boat of Dr."),  # a sentence ends before a capital letter
        ("Who saw the boat?", "Ben sold the boat."),
        ("Who sold the boat?", "Ann saw the boat of Dr."),
        ("Who sold the boat?", "Ben sold the boat."),
    ]


def test_pairs_of_a_file(qnli):
    pairs = [(f"Who has {number}?", f"Ann has {number}.") for number in range(9)]
    records = [{"sentence1": first, "sentence2": second, "gold_label": "-"} for first, second in pairs]
    records.append({"sentence1": "Who saw it?", "sentence2": "It was seen."})  # of dev
    (qnli / "pairs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    more_texts(qnli, "--task=qnli", "--pairs=pairs.jsonl", "--most=8")
    made = [(row.text, row.text_pair) for row in load_task("qnli", str(qnli / "more")).train]
    assert made[0] == ("Who sold it?", "Ann sold a boat.")
    assert len(made) == 9 and len(set(made[1:]) & set(pairs)) == 8 and made[1:] != pairs[:8]


def test_rows_to_begin_with(cola):
    write_rows(
        cola / "augmented" / "CoLA" / "train.tsv", [["x", "0", "*", "man old the"], ["x", "1", "", SENTENCES[0]]]
    )
    more_texts(cola, "--task=cola", "--rows=augmented")
    made = (cola / "more" / "CoLA" / "train.tsv").read_text().splitlines()
    assert made[:2] == ["x\t0\t*\tman old the", f"x\t1\t\t{SENTENCES[0]}"] and len(made) > 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task=rte",), "error: glue/train.tsv: no such file"),
        (("--task=cola", "--corpus=none.txt"), "none.txt: no such file"),
        (("--task=cola", "--squad=."), "--squad is read for qnli alone, not for --task=cola"),
        (("--task=cola", "--most=5"), "--most limits --pairs, which is not given"),
        (("--task=rte", "--pairs=bad.jsonl"), "bad.jsonl, line 1: sentence1 and sentence2 must be two texts"),
    ],
)
def test_bad_input_is_one_line(cola, arguments, message):
    rte = [["index", "sentence1", "sentence2", "label"], ["0", "It rained.", "It was wet.", "entailment"]]
    if "--pairs=bad.jsonl" in arguments:
        write_rows(cola / "glue" / "RTE" / "train.tsv", rte)
    (cola / "bad.jsonl").write_text('{"sentence1": "It rained."}\n')
    done = run(cola, *arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr and message in done.stderr
    assert not (cola / "more").exists()
